"""What a page is made of: sections of sentences, warnings, tables, figures and folded texts.

The rule: cells and captions are plain text, which the template escapes; the only thing taken as it is are figures. What
has nothing to show says so in a sentence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence; ``grave`` marks one that must not be overlooked."""

    text: str
    grave: bool = False
    kind: ClassVar = "note"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under their heads; the first ``n_texts`` columns are words, the others figures."""

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_texts: int = 1
    kind: ClassVar = "table"


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn figure and the text below it."""

    caption: str
    svg: Markup
    kind: ClassVar = "picture"


@dataclass(frozen=True, slots=True)
class FoldedText:
    """A long text that opens on demand."""

    title: str
    text: str
    kind: ClassVar = "folded"


@dataclass(frozen=True, slots=True)
class WarningBox:
    """Results to look at, each with what to do: pairs of a sentence and a hint."""

    warnings: tuple[tuple[str, str], ...]
    kind: ClassVar = "warnings"


Part = Note | Table | Picture | FoldedText | WarningBox


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page under a heading."""

    title: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """All of it; ``lead`` is what a reader should know first."""

    title: str
    lead: tuple[Part, ...]
    sections: tuple[Section, ...]


def table(
    caption: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    n_texts: int = 1,
    empty: str,
) -> Table | Note:
    """Return a table, or the sentence ``empty`` where it would have no rows."""
    cells = tuple(tuple(row) for row in rows)
    return Table(caption, tuple(heads), cells, n_texts) if cells else Note(empty)


def render(page: Page) -> bytes:
    """Fill the page's template in; the same page gives the same bytes."""
    environment = Environment(
        loader=PackageLoader("lvm_batch.jobs.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_seen,
    )
    return environment.get_template("report.html").render(page=page).encode()


def _seen(value: object) -> object:
    """Write what no reader would see, or would see in a wrong order, as Python writes it: names may hold any of it."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(one if one.isprintable() or one in "\n\t" else ascii(one)[1:-1] for one in value)
