"""Runs of consecutive rows of one article, and what their number and lengths tell.

The rule: windows slide within a run, so everything here follows from the ids of runs, their lengths and their files;
no row is looked at. A null id names no article: its rows stand alone, and are no run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Cuts:
    """``articles`` are in several runs each, with ``cuts`` between them.

    ``rows`` is how many more rows have a short context than if each article were contiguous; ``cuts`` rows have no
    target. ``example`` is the first such article, ``files`` the files of its first two runs. ``elsewhere`` of the
    articles go on in another file.
    """

    articles: int
    cuts: int
    rows: int
    example: str
    files: tuple[str, str]
    elsewhere: int = 0


class Runs(NamedTuple):
    """Runs of articles: ids of one type, the rows of each run, and the number of its file; all have one length."""

    ids: pa.Array
    rows: Numbers
    files: Numbers

    def take(self, places: Numbers) -> Runs:
        """Return the runs at ``places``."""
        return Runs(self.ids.take(pa.array(places)), self.rows[places], self.files[places])

    @property
    def of_articles(self) -> Runs:
        """The runs whose id is not null."""
        return self.take(np.flatnonzero(self.ids.is_valid().to_numpy(zero_copy_only=False)))


class KeptRuns:
    """Runs by the type of their ids, up to ``at_most``, or a few more."""

    def __init__(self, at_most: int) -> None:
        self._at_most = at_most
        self.of_types: dict[pa.DataType, list[Runs]] = {}
        self._count = 0

    @property
    def is_full(self) -> bool:
        """Whether further runs are dropped."""
        return self._count >= self._at_most

    def add(self, runs: Runs) -> None:
        """Keep runs, unless there are too many."""
        if len(runs.ids) and not self.is_full:
            self.of_types.setdefault(runs.ids.type, []).append(runs)
            self._count += len(runs.ids)


def run_starts(ids: pa.Array, files: Numbers) -> NDArray[np.bool_]:
    """Return whether each entry begins a run: its file or its id, which may be null, differs from the entry before."""
    same = pc.equal(ids[1:], ids[:-1]).fill_null(fill_value=False).to_numpy(zero_copy_only=False)
    return np.concatenate([[True], ~same | (files[1:] != files[:-1])])[: len(ids)].astype(np.bool_)


def merge(runs: Runs, starts: NDArray[np.bool_]) -> Runs:
    """Add up the rows of entries from each start to the next."""
    places = np.flatnonzero(starts)
    return runs.take(places)._replace(rows=np.add.reduceat(runs.rows, places)) if len(places) else runs


def in_order(found: Sequence[Runs], places: Numbers) -> Runs:
    """Join runs, sorted by their files; ``places`` gives the place of each file, -1 for files that are left out."""
    runs = Runs(
        pa.concat_arrays(runs.ids for runs in found),
        np.concatenate([runs.rows for runs in found]),
        places[np.concatenate([runs.files for runs in found])],
    )
    order = np.argsort(runs.files, kind="stable")
    runs = runs.take(order[runs.files[order] >= 0])
    return merge(runs, run_starts(runs.ids, runs.files))


def count_windows(runs: Runs, *, length: int) -> int:
    """Return how many rows end a whole context of ``length`` vectors."""
    alone = 0 if length > 1 else int(runs.rows[runs.ids.is_null().to_numpy(zero_copy_only=False)].sum())
    return int(np.maximum(runs.of_articles.rows - (length - 1), 0).sum()) + alone


def count_long(runs: Runs, *, length: int) -> int:
    """Return how many articles have a whole context of ``length`` vectors and a target."""
    return len(runs.take(np.flatnonzero(runs.rows > length)).ids.unique())


def find_cuts(runs: Runs, paths: Sequence[str], *, length: int) -> Cuts | None:
    """Return the cuts of articles whose ids have one type, for windows of ``length``; ``None`` if all are whole."""
    encoded = runs.ids.dictionary_encode()
    codes = encoded.indices.to_numpy()  # (runs,)
    counts = np.bincount(codes, minlength=len(encoded.dictionary))
    of_cut = counts[codes] > 1
    if not of_cut.any():
        return None
    n_short = length - 1  # a run begins with as many rows of short context
    whole = np.bincount(codes, runs.rows, minlength=len(counts))[counts > 1]
    first = codes[np.argmax(of_cut)]
    one, other = runs.files[np.flatnonzero(codes == first)[:2]]
    return Cuts(
        articles=int((counts > 1).sum()),
        cuts=int((counts[counts > 1] - 1).sum()),
        rows=int(np.minimum(runs.rows[of_cut], n_short).sum() - np.minimum(whole, n_short).sum()),
        example=shown_id(encoded.dictionary[first].as_py()),
        files=(paths[one], paths[other]),
        elsewhere=_in_several_files(codes[of_cut], runs.files[of_cut]),
    )


def add_cuts(found: Sequence[Cuts]) -> Cuts | None:
    """Add up the cuts of articles of several types of id."""
    if not found:
        return None
    names = ("articles", "cuts", "rows", "elsewhere")
    sums = {name: sum(getattr(cuts, name) for cuts in found) for name in names}
    return Cuts(**sums, example=found[0].example, files=found[0].files)


def shown_id(value: object) -> str:
    """Return a comparable id as text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _in_several_files(codes: Numbers, files: Numbers) -> int:
    """Return how many of the articles ``codes`` have runs in more than one file."""
    pairs = np.unique(np.stack([codes, files]), axis=1)
    return int((np.unique(pairs[0], return_counts=True)[1] > 1).sum())
