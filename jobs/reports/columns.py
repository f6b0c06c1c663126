"""The columns of an output that the figures of a report show.

The rule: only narrow columns are read, file by file, and never more than two million rows or a thousand files are
looked at; beyond that, files and row groups evenly spread over the output stand for all, the same ones each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lvm_batch.io.dataset.batches import text_values
from lvm_batch.io.dataset.partitions import folder_texts
from lvm_batch.io.formats.parquet import OpenParquet
from lvm_batch.io.schema import ROUTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from lvm_batch.io.output.commit import OutputFolder

    Values = NDArray[np.float32]
    Codes = NDArray[np.int32]

MAX_ROWS = 2_000_000
MAX_FILES = 1_000

_FLOATS = ("cosine", "amn_cosine", "gru_cosine", "confidence", "margin")
_BUFFER_BYTES = 2**20
_MAX_NAMES = 10_000
_OTHERS = "(further values)"


@dataclass(frozen=True, slots=True)
class Labels:
    """A column of names: ``codes`` int32 (n,) into ``names``, -1 for null; None if no file has it."""

    names: tuple[str, ...]
    codes: Codes


@dataclass(frozen=True, slots=True)
class Columns:
    """Rows as they were written: ``floats`` are float32 (n,), NaN for null; ``shadow`` is bool (n,).

    ``n_total`` are the rows of the output, of which ``n_rows`` were looked at; ``unreadable`` names files that could
    not be read.
    """

    floats: Mapping[str, Values]
    shadow: NDArray[np.bool_]
    route: Labels
    lane: Labels | None
    split: Labels | None
    n_files: int
    n_total_files: int
    n_total: int
    unreadable: tuple[str, ...]

    @property
    def n_rows(self) -> int:
        """Rows that were looked at."""
        return len(self.shadow)

    @property
    def gain(self) -> Values:
        """GRU's cosine minus AMN's, float32 (n,); NaN unless both are known."""
        return self.floats["gru_cosine"] - self.floats["amn_cosine"]

    @property
    def escalated(self) -> NDArray[np.bool_]:
        """Whether a row took the fallback, bool (n,)."""
        escalated: NDArray[np.bool_] = self.route.codes == ROUTES.index("gru")
        return escalated


class _Names:
    """Codes of a column's names over all files, in the order in which they are met."""

    def __init__(self, known: Sequence[str] = ()) -> None:
        self.known = {name: code for code, name in enumerate(known)}
        self.found = False

    def codes(self, column: pa.ChunkedArray | None, n_rows: int) -> Codes:
        if column is None:
            return np.full(n_rows, -1, np.int32)
        self.found = True
        return _joined([self._codes_of(chunk) for chunk in column.chunks], np.int32)

    def _codes_of(self, texts: pa.DictionaryArray) -> Codes:
        """A text of a dictionary is looked at once, and only if a row has it."""
        used = texts.indices.drop_null().unique()
        places = np.full(len(texts.dictionary) + 1, -1, np.int32)
        names = text_values(pa.chunked_array([texts.dictionary.take(used)])).tolist()
        places[used.to_numpy()] = [self._code(name) for name in names]
        codes: Codes = places[texts.indices.cast("int64").fill_null(len(places) - 1).to_numpy()]
        return codes

    def _code(self, name: str | None) -> int:
        if name is None:
            return -1
        if name not in self.known and len(self.known) >= _MAX_NAMES:
            name = _OTHERS
        return self.known.setdefault(name, len(self.known))

    def labels(self, codes: list[Codes]) -> Labels:
        return Labels(tuple(self.known), _joined(codes, np.int32))


def read_columns(
    folder: OutputFolder, rows_by_output: Mapping[str, int], *, lane: str, split: str
) -> Columns:
    """Read the narrow columns of the published files; ``lane`` and ``split`` are those columns' names in the output."""
    sampled, max_rows = _sampled(rows_by_output)
    routes, lanes, splits = _Names(ROUTES), _Names(), _Names()
    floats: dict[str, list[Values]] = {name: [] for name in _FLOATS}
    codes: dict[str, list[Codes]] = {"route": [], "lane": [], "split": []}
    shadow, unreadable = [], []
    for output in sampled:
        table = _read(folder, output, (*_FLOATS, "shadow", "route", lane, split), max_rows)
        if table is None:
            unreadable.append(output)
            continue
        for name in _FLOATS:
            floats[name].append(_float32(table[name]))
        shadow.append(table["shadow"].to_numpy())
        for kind, names, column in (
            ("route", routes, "route"),
            ("lane", lanes, lane),
            ("split", splits, split),
        ):
            codes[kind].append(names.codes(_as_text(table, column), table.num_rows))
    return Columns(
        floats={name: _joined(parts, np.float32) for name, parts in floats.items()},
        shadow=_joined(shadow, np.bool_),
        route=routes.labels(codes["route"]),
        lane=lanes.labels(codes["lane"]) if lanes.found else None,
        split=splits.labels(codes["split"]) if splits.found else None,
        n_files=len(sampled) - len(unreadable),
        n_total_files=len(rows_by_output),
        n_total=sum(rows_by_output.values()),
        unreadable=tuple(unreadable),
    )


def _sampled(rows_by_output: Mapping[str, int]) -> tuple[list[str], int]:
    """Choose files, evenly spread, and how many rows of each are read at most."""
    outputs = sorted(output for output, rows in rows_by_output.items() if rows)
    total = sum(rows_by_output.values())
    share = min(1.0, MAX_ROWS / total) if total else 1.0
    n_files = min(len(outputs), MAX_FILES, max(1, int(len(outputs) * share)))
    chosen = [outputs[place * len(outputs) // n_files] for place in range(n_files)] if outputs else []
    return chosen, max(1, MAX_ROWS // max(1, len(chosen)))


def _read(folder: OutputFolder, output: str, wanted: Sequence[str], max_rows: int) -> pa.Table | None:
    """Return those of the columns that a file has; ``None`` if it cannot be read."""
    try:
        with folder.open(output) as source, OpenParquet(source, output, buffer_size=_BUFFER_BYTES) as file:
            names = set(file.schema_arrow.names)
            groups = list(_row_groups(file.metadata, max_rows))
            columns = [name for name in wanted if name in names]
            table = file.coded(columns).read_row_groups(groups, columns=columns, use_threads=False)
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        return None
    return _with_folders(table, output) if names.issuperset((*_FLOATS, "shadow", "route")) else None


def _with_folders(table: pa.Table, output: str) -> pa.Table:
    """Add the columns that only a file's folders give."""
    for name, text in folder_texts(output).items():
        if name not in table.column_names:
            texts = pa.repeat(pa.scalar(text, pa.string()), table.num_rows).dictionary_encode()
            table = table.append_column(name, texts)
    return table


def _row_groups(footer: Any, max_rows: int) -> Iterator[int]:  # noqa: ANN401 - pyarrow publishes no types
    """Choose row groups, evenly spread, that hold no more rows than ``max_rows``, but one at least."""
    n_groups = footer.num_row_groups
    share = min(1.0, max_rows / max(1, footer.num_rows))
    n_read = min(n_groups, max(1, int(n_groups * share)))
    return (place * n_groups // n_read for place in range(n_read))


def _float32(column: pa.ChunkedArray) -> Values:
    """Null becomes NaN."""
    return np.asarray(column.to_numpy(), np.float32)


def _as_text(table: pa.Table, name: str) -> pa.ChunkedArray | None:
    """Return a column as codes of texts. One of another type, which cannot become text, names nothing."""
    if name not in table.column_names:
        return None
    column = table[name]
    try:
        return (
            column
            if pa.types.is_dictionary(column.type)
            else pc.cast(column, pa.string()).dictionary_encode()
        )
    except pa.ArrowException:
        return None


def _joined(parts: Sequence[NDArray[Any]], kind: Any) -> NDArray[Any]:  # noqa: ANN401 - numpy's own, of any kind
    return np.concatenate(parts) if parts else np.zeros(0, kind)
