"""Checks the places that a command writes to, against each other and against what it reads.

The rule: no output becomes an input, and an output folder, a history or a bank contains nothing else: their readers
read every file there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from lvm_batch.io.dataset.overlap import DatasetReach
from lvm_batch.io.errors import DataError, OutputError
from lvm_batch.io.storage.locations import is_within, locate
from lvm_batch.io.storage.store import refuse_read_only
from lvm_batch.io.tables.names import place_of
from lvm_batch.jobs.errors import Problem, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from lvm_batch.io.dataset.files import InputFile
    from lvm_batch.io.storage.locations import Location


@dataclass(frozen=True, slots=True)
class Place:
    """A file or folder of a command: ``what`` messages call it, and the ``option`` that sets it.

    ``keeps_out`` says which other places may not be inside. ``names`` are the files that will be written there; an
    empty name means the place itself.
    """

    what: str
    option: str
    text: str
    names: Sequence[str] = field(default=("",), compare=False)
    keeps_out: Literal["everything", "folders", "nothing"] = "nothing"
    is_file: bool = False

    def may_hold(self, other: Place) -> bool:
        """Return whether the other place may be inside this one."""
        return self.keeps_out == "nothing" or (self.keeps_out == "folders" and other.is_file)

    @property
    def title(self) -> str:
        """What the place is called, with its path."""
        return f"{self.what} {self.text}"


def check_places(
    written: Sequence[Place],
    *,
    dataset: Sequence[str] = (),
    files: Iterable[InputFile] = (),
    kept: Sequence[Place] = (),
) -> None:
    """Raise the errors that :func:`place_errors` finds: one ``OutputError``, or all of them as a ``SettingsError``."""
    errors = list(place_errors(written, dataset=dataset, files=files, kept=kept))
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise SettingsError(*map(Problem.of, errors))


def place_errors(
    written: Sequence[Place],
    *,
    dataset: Sequence[str] = (),
    files: Iterable[InputFile] = (),
    kept: Sequence[Place] = (),
) -> Iterator[OutputError]:
    """Yield an error for each of the ``written`` places that cannot be written to, or is inside or around another place
    where it may not be.

    ``dataset`` are the arguments that are read, ``files`` the files found for them; ``kept`` are other places that are
    only read. Texts that are no paths or URLs are not checked here.
    """
    located = {place: where for place in (*written, *kept) if (where := _where(place.text)) is not None}
    read = [text for text in map(place_of, dataset) if text is not None and _where(text) is not None]
    reach = DatasetReach(read, files)
    for number, place in enumerate(written):
        try:
            refuse_read_only(place.text)
        except OutputError as error:
            yield error
            continue
        if place in located:
            yield from _beside_input(place, located[place], reach)
            for other in (*written[number + 1 :], *kept):
                if other in located and (why := _clash(place, other, located)):
                    yield OutputError(why, f"give {place.option} another path")


def _where(text: str) -> Location | None:
    try:
        return locate(text)
    except DataError:
        return None


def _beside_input(place: Place, where: Location, reach: DatasetReach) -> Iterator[OutputError]:
    if argument := reach.reader_of(where, place.names):
        yield OutputError(
            f"{place.title} is inside the input {argument}",
            f"give {place.option} a path outside the input, or the next run would read what this one writes",
        )
    elif place.keeps_out != "nothing" and (part := reach.part_inside(where)):
        yield OutputError(
            f"the input {part} is inside {place.title}",
            f"give {place.option} a folder of its own, so that its readers find nothing else",
        )


def _clash(place: Place, other: Place, located: Mapping[Place, Location]) -> str | None:
    inner, outer = is_within(located[place], located[other]), is_within(located[other], located[place])
    if inner and outer:
        return f"{place.title} is also {other.what}"
    if inner and not other.may_hold(place):
        return f"{place.title} is inside {other.title}"
    if outer and not place.may_hold(other):
        return f"{other.title} is inside {place.title}"
    return None
