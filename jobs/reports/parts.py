"""What a page is made of: sentences, warnings, large figures, tables, pictures and folded texts.

The rule: cells and captions are plain text, which the template escapes; only pictures are taken as they are. What has
nothing to show says so in a sentence, and no half of a line stays empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_HALF_COLUMNS = 5
_HALF_TEXTS = 2
_NARROW_COLUMNS = 4


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence; ``grave`` marks one that must not be overlooked."""

    text: str
    grave: bool = False
    kind: ClassVar = "note"


@dataclass(frozen=True, slots=True)
class Checks:
    """What is in order, all of it in one line."""

    texts: tuple[str, ...]
    kind: ClassVar = "checks"


@dataclass(frozen=True, slots=True)
class Badge:
    """The state of a job in a word or two; ``tone`` is good, warn, bad or busy."""

    text: str
    tone: str


@dataclass(frozen=True, slots=True)
class Tile:
    """A large figure with its name and a line below it; ``tone`` is empty or bad."""

    name: str
    value: str
    detail: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Tiles:
    """The figures that a reader wants first."""

    tiles: tuple[Tile, ...]
    kind: ClassVar = "tiles"


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a bar: its name, its share of the bar from 0 to 1, its figure, and the page's name of its colour."""

    name: str
    share: float
    value: str
    colour: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of segments, and what it shows."""

    caption: str
    segments: tuple[Segment, ...]
    kind: ClassVar = "bar"


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table with a ``tone``: better, worse, or none."""

    text: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under their heads; the first ``n_texts`` columns are words, the others figures."""

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    n_texts: int = 1
    kind: ClassVar = "table"

    @property
    def is_wide(self) -> bool:
        """Whether half a line is too narrow for it."""
        return len(self.heads) > _HALF_COLUMNS or self.has_sentences

    @property
    def has_sentences(self) -> bool:
        """Whether its words are sentences and paths."""
        return self.n_texts > _HALF_TEXTS

    @property
    def scrolls(self) -> bool:
        """Whether it may be wider than the screen of a phone."""
        return len(self.heads) > _NARROW_COLUMNS or self.has_sentences


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure and the text below it; ``draw_svg`` draws it for half a line, or with ``True`` for all of it."""

    caption: str
    draw_svg: Callable[[bool], Markup]
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


Part = Note | Checks | Tiles | Bar | Table | Picture | FoldedText | WarningBox


@dataclass(frozen=True, slots=True)
class PlacedPart:
    """A part on its line: all of it if ``wide``, else half."""

    part: Part
    wide: bool


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page under a heading."""

    title: str
    parts: tuple[Part, ...]

    @property
    def lines(self) -> Iterator[PlacedPart]:
        """The parts, two halves side by side; a half that would stand alone gets the whole line."""
        waiting: Part | None = None
        for part in self.parts:
            if not _is_half(part):
                yield from _placed(waiting)
                yield PlacedPart(part, wide=True)
                waiting = None
            elif waiting is None:
                waiting = part
            else:
                yield from (PlacedPart(half, wide=False) for half in (waiting, part))
                waiting = None
        yield from _placed(waiting)


def _placed(alone: Part | None) -> Iterator[PlacedPart]:
    if alone is not None:
        yield PlacedPart(alone, wide=True)


def _is_half(part: Part) -> bool:
    return isinstance(part, Picture) or (isinstance(part, Table) and not part.is_wide)


@dataclass(frozen=True, slots=True)
class Page:
    """All of it; ``lead`` is what a reader should know first, ``badges`` stand beside the title."""

    title: str
    badges: tuple[Badge, ...]
    subtitle: str
    lead: tuple[Part, ...]
    sections: tuple[Section, ...]


def table(
    caption: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[str | Cell]],
    *,
    n_texts: int = 1,
    empty: str,
) -> Table | Note:
    """Return a table, or the sentence ``empty`` where it would have no rows."""
    cells = tuple(tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in row) for row in rows)
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
