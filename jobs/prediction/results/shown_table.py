"""Rows of an output as a table that fits the terminal.

The rule: a text that is too long is cut with an ellipsis, and a column for which there is no room is named below the
table. Columns of the job that hold nothing in any of the rows are left out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from lvm_batch.io.schema import NEIGHBOUR_COLUMNS, OUTPUT_COLUMNS, PREDICTION
from lvm_batch.jobs.console.text import format_number, plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

    from lvm_batch.jobs.prediction.results.shown_rows import ShownRow, ShownRows

_GAP = 2
_WIDEST = 40
_NARROWEST = 8
_LONGEST = 1000
_VALUES = 3  # of a prediction
_RANKS = (
    *("row", "status", "cosine", "route", "key", "reasons", "confidence", "neighbours", "file", PREDICTION),
    "more keys",
)
"""What is kept the longest where there is not room for all; the key is the first carried column."""


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the table: ``width`` cells wide, and ``least`` at its narrowest; ``rank`` is that in ``_RANKS``."""

    name: str
    rank: int
    cells: Sequence[str]
    width: int
    least: int
    is_number: bool


class RowsTable:
    """What ``show`` prints: the rows as a table, as wide as the terminal at most, and how many there are."""

    def __init__(self, shown: ShownRows) -> None:
        self._shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lay the table out for the width that there is."""
        columns = _columns(self._shown.rows, options.max_width) if self._shown.rows else []
        fitted = _fitted(columns, options.max_width)
        if fitted:
            yield _table(fitted)
        kept = {column.name for column in fitted}
        for line in _lines(self._shown, [column.name for column in columns if column.name not in kept]):
            yield Text(line)


def _columns(rows: Sequence[ShownRow], width: int) -> list[_Column]:
    """Return all columns, with more or fewer values of each prediction as there is room for all of them."""
    for n_values in range(_VALUES, 0, -1):
        columns = _columns_with(rows, n_values)
        if _total(column.width for column in columns) <= width:
            break
    return columns


def _total(widths: Iterable[int]) -> int:
    """Return the width of a table, with the gaps between its columns."""
    return sum(width + _GAP for width in widths) - _GAP


def _columns_with(rows: Sequence[ShownRow], n_values: int) -> list[_Column]:
    of_job = {*OUTPUT_COLUMNS, *(NEIGHBOUR_COLUMNS if all(map(_has_neighbours, rows)) else ())}
    carried = dict.fromkeys(name for row in rows for name in row.columns if name not in of_job)
    own = [
        _column("cosine", map(format_cosine, _values(rows, "cosine")), is_number=True),
        _column("route", (value or "" for value in _values(rows, "route"))),
        _column("reasons", (", ".join(value or ()) for value in _values(rows, "escalation_reasons"))),
        _column("confidence", map(format_cosine, _values(rows, "confidence")), is_number=True),
        _column("neighbours", map(_neighbours, rows) if of_job > {*OUTPUT_COLUMNS} else [""] * len(rows)),
        _column("status", map(_status, rows)),
        _column(
            PREDICTION, (_short(vector, n_values) for vector in _values(rows, PREDICTION)), least=_WIDEST
        ),
    ]
    return [
        *_place(rows),
        *(
            _carried(name, _values(rows, name), rank="more keys" if number else "key")
            for number, name in enumerate(carried)
        ),
        *(column for column in own if any(column.cells)),
    ]


def _values(rows: Iterable[ShownRow], name: str) -> list[Any]:
    return [row.columns.get(name) for row in rows]


def _column(
    name: str,
    cells: Iterable[str],
    *,
    rank: str | None = None,
    is_number: bool = False,
    least: int = _NARROWEST,
) -> _Column:
    """Return a column as wide as its cells, within bounds; numbers are never cut."""
    cells = list(cells)
    needed = max(map(cell_len, (name, *cells)))
    width = needed if is_number else min(needed, _WIDEST)
    narrowest = needed if is_number else min(needed, least)
    return _Column(name, _RANKS.index(rank or name), cells, width, narrowest, is_number)


def _place(rows: Sequence[ShownRow]) -> list[_Column]:
    """Return where the rows were read: their numbers, and their files if there are several."""
    paths = [row.input for row in rows]
    numbers = _column("row", (f"{row.row}" for row in rows), is_number=True)
    if len(set(paths)) < 2:  # noqa: PLR2004 - several
        return [numbers]
    shared = len(_shared_folder(paths))
    return [_column("file", (_on_one_line(path[shared:]) for path in paths)), numbers]


def _shared_folder(paths: Sequence[str]) -> str:
    """Return the folder, with its slash, that all of ``paths`` lie in."""
    names = map(set, zip(*(path.split("/")[:-1] for path in paths), strict=False))
    return "".join(f"{same.pop()}/" for same in takewhile(lambda each: len(each) == 1, names))


def _carried(name: str, values: Sequence[Any], *, rank: str) -> _Column:
    is_number = all(isinstance(value, int | float | None) and not isinstance(value, bool) for value in values)
    return _column(_on_one_line(name), map(_cell, values), rank=rank, is_number=is_number)


def _cell(value: Any) -> str:  # noqa: ANN401 - any JSON
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return _on_one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _on_one_line(text: str) -> str:
    """Put a text on one line, with what a terminal would act upon escaped."""
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"  # a document is not looked at as a whole
    words = " ".join(shown.split())
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in words)


def format_cosine(value: float | None) -> str:
    """Return a cosine with four digits, nothing for None."""
    return format_number(value, unknown="")


def _status(row: ShownRow) -> str:
    return ": ".join(filter(None, (row.columns["status"], row.columns["status_detail"])))


def _has_neighbours(row: ShownRow) -> bool:
    """Whether the job wrote neighbours; one that did not may carry a column of one of the names."""
    return all(isinstance(row.columns.get(name), list) for name in NEIGHBOUR_COLUMNS)


def _neighbours(row: ShownRow) -> str:
    """Return the ids of the neighbours, nearest first."""
    ids, _ = (row.columns[name] for name in NEIGHBOUR_COLUMNS)
    return ", ".join(map(_cell, ids))


def _short(vector: Sequence[float] | str | None, n_values: int) -> str:
    """Return the norm of a vector and its first values, the first of its codes, or the first of its signs' digits."""
    if not vector:
        return ""
    if isinstance(vector, str):
        return vector[: 4 * n_values] + ("…" if len(vector) > 4 * n_values else "")
    more = " …" if len(vector) > n_values else ""
    if all(isinstance(value, int) for value in vector):
        return " ".join(map(str, vector[:n_values])) + more
    norm = sum(value * value for value in vector) ** 0.5
    return f"|{norm:.2f}| " + " ".join(f"{value:.3f}" for value in vector[:n_values]) + more


def _fitted(columns: Sequence[_Column], width: int) -> list[_Column]:
    """Leave out columns for which there is no room, then make the widest ones narrower."""
    fitted = list(columns)
    while len(fitted) > 1 and _total(column.least for column in fitted) > width:
        fitted.remove(max(reversed(fitted), key=lambda column: column.rank))
    while _total(column.width for column in fitted) > width:
        place = max(range(len(fitted)), key=lambda number: fitted[number].width - fitted[number].least)
        if fitted[place].width == fitted[place].least:
            break
        fitted[place] = replace(fitted[place], width=fitted[place].width - 1)
    return fitted


def _table(columns: Sequence[_Column]) -> Table:
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False)
    for column in columns:
        table.add_column(
            Text(column.name),
            width=column.width,
            justify="right" if column.is_number else "left",
            no_wrap=True,
            overflow="ellipsis",
        )
    for cells in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*map(Text, cells))
    return table


def _lines(shown: ShownRows, left_out: Sequence[str]) -> list[str]:
    """Return how many rows there are, and what is not shown."""
    lines = [f"{_counted(shown)}{_of_what(shown)}"]
    if shown.n_committed < shown.n_planned:
        lines.append(f"{shown.n_committed:,} of {plural(shown.n_planned, 'row')} are committed so far")
    if shown.query.worst and not shown.rows:
        lines.append("none of these rows has a cosine, because none has a target")
    if left_out:
        lines.append(f"not shown for lack of space: {', '.join(left_out)}; widen the terminal or use --json")
    if not shown.has_predictions:
        lines.append("the job writes no predictions (--no-prediction)")
    return lines


def _counted(shown: ShownRows) -> str:
    n_rows = len(shown.rows)
    if shown.query.worst and shown.rows:
        return f"the {plural(n_rows, 'row')} with the lowest {'cosine' if n_rows == 1 else 'cosines'}"
    return f"{n_rows:,}" if shown.n_matching is not None else plural(n_rows, "row")


def _of_what(shown: ShownRows) -> str:
    wanted = " and ".join(f"{name} {value}" for name, value in shown.query.wanted.items())
    if shown.n_matching is None:
        return f" with {wanted}; there are {plural(shown.n_committed, 'row')} in all"
    return f" of {plural(shown.n_matching, 'row')}{f' with {wanted}' if wanted else ''}"
