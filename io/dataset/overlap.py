"""Whether a file written to a place would be read as part of a dataset.

The rule: a place counts under every name by which a walk from the dataset reaches it, whatever links are on the way.
No file is opened.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyarrow import fs

from lvm_batch.io.storage.listing import look_at
from lvm_batch.io.storage.locations import Location, identities_above, identity, locate, real_path
from lvm_batch.io.storage.patterns import cut_pattern, is_pattern, matches_path
from lvm_batch.io.tables.names import place_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from lvm_batch.io.dataset.files import InputFile


@dataclass(frozen=True, slots=True)
class _Root:
    """Where the walk of one argument begins, and the parts of its pattern; ``None`` if everything is read."""

    argument: str
    place: Location
    wanted: Sequence[str] | None


class DatasetReach:
    """The places that the ``arguments`` of a dataset read; ``files`` are the files there now."""

    def __init__(self, arguments: Iterable[str], files: Iterable[InputFile]) -> None:
        self._roots = [_root(argument) for argument in arguments]
        self._folders = _real_folders(files)

    def reader_of(self, place: Location, names: Sequence[str]) -> str | None:
        """Return an argument that would read a file below ``place`` with one of ``names``, if there is one.

        An empty name is the place itself.
        """
        reach, links = _reach(place), dict(self._links_to(place))
        return next((root.argument for root in self._roots if _reads(root, names, reach, links)), None)

    def part_inside(self, place: Location) -> str | None:
        """Return an argument, or a folder with files of the dataset, that is inside ``place``, if there is one."""
        below = f"{real_path(place).rstrip('/')}/"
        for root in self._roots:
            if f"{real_path(root.place)}/".startswith(below):
                return root.argument
        return next((folder for folder, real in self._folders.items() if f"{real}/".startswith(below)), None)

    def _links_to(self, place: Location) -> Iterator[tuple[str, str]]:
        """Yield the folders that contain ``place`` when links are followed, each with its name there."""
        real = f"{real_path(place)}/"
        for folder, lies in self._folders.items():
            if real.startswith(f"{lies}/"):
                yield folder, real.removeprefix(lies).strip("/")


def _reads(
    root: _Root, names: Sequence[str], reach: Mapping[object, set[str]], links: Mapping[str, str]
) -> bool:
    start = f"{root.place.text.rstrip('/')}/"
    by_links = {
        _joined(link.removeprefix(start), name) for link, name in links.items() if link.startswith(start)
    }
    found = reach.get(identity(root.place), set()) | by_links
    if root.wanted is None:
        return bool(found)
    wanted = list(root.wanted)
    return any(matches_path(_joined(below, name), wanted) for name in names for below in found)


def _root(argument: str) -> _Root:
    place = locate(argument)
    if look_at(place).type == fs.FileType.Directory or not is_pattern(argument):
        return _Root(argument, place, None)
    return _Root(argument, *cut_pattern(place))


def _reach(place: Location) -> Mapping[object, set[str]]:
    """Return the folders from which ``place`` can be reached, each with the names that it has below them.

    A link on the way may lead out of a folder; the place still counts as inside that folder.
    """
    found: dict[object, set[str]] = defaultdict(set)
    above, rest = place, ""
    while above.path.strip("/"):
        for folder, below in identities_above(above):
            found[folder].add(_joined(*below, rest))
        parent, _, last = above.text.rpartition("/")
        above, rest = Location(above.filesystem, above.path.rpartition("/")[0], parent), _joined(last, rest)
    return found


def _real_folders(files: Iterable[InputFile]) -> dict[str, str]:
    """Return the folders of ``files``, and those above them, each with its path when links are followed."""
    folders: dict[str, str] = {}
    for file in files:
        _add(file.path.rpartition("/")[0], folders)
    return folders


def _add(folder: str, folders: dict[str, str]) -> str:
    if folder not in folders:
        above, _, name = folder.rpartition("/")
        if "://" in folder:
            folders[folder] = folder
        elif not above or os.path.islink(folder):  # noqa: PTH114 - Path takes twice the time
            folders[folder] = os.path.realpath(folder or "/")
        else:
            folders[folder] = f"{_add(above, folders).rstrip('/')}/{name}"
    return folders[folder]


def matching_files(arguments: Iterable[str], files: Iterable[InputFile]) -> list[InputFile]:
    """Return those of ``files``, which may be gone, that ``arguments`` stand for by their paths."""
    places = [place_of(argument) for argument in arguments]
    if None in places:  # only a catalog knows where files of that table may lie
        return list(files)
    wanted = [cut_pattern(locate(place)) for place in places if place is not None]
    return [
        file for file in files if any(_lies_in(file.path, *place_and_parts) for place_and_parts in wanted)
    ]


def _lies_in(path: str, root: Location, wanted: list[str]) -> bool:
    if path == root.text:
        return not wanted
    below = path.removeprefix(f"{root.text.rstrip('/')}/")
    return below != path and (not wanted or matches_path(below, wanted))


def _joined(*parts: str) -> str:
    return "/".join(filter(None, parts))
