"""Finds the column for each part that a dataset's columns can play.

The rule: a column that is named by an option, or has the usual name, plays its part. Else the only column that can, by
its type and by the names people use, plays it; if two can, that is an error, not a choice. What is found follows from
the columns of the dataset alone, so that the same dataset is always read in the same way.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from lvm_batch.io.dataset.column_checks import is_number, is_ordered, is_plain, is_text
from lvm_batch.io.discovery import part_names
from lvm_batch.io.discovery.columns_there import ColumnsThere
from lvm_batch.io.discovery.doubtful_names import is_sound
from lvm_batch.io.discovery.found_columns import FoundColumns
from lvm_batch.io.discovery.messages import NOUNS, ambiguous
from lvm_batch.io.schema import NO_COLUMN, ColumnNames, Layout, WindowShape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from lvm_batch.io.dataset.files import InputFile
    from lvm_batch.io.discovery.columns_there import KnownColumns
    from lvm_batch.io.discovery.widths import RowWidth

PARTS = tuple(field.name for field in fields(ColumnNames))
_USUAL = ColumnNames()

_NAMED: Mapping[str, tuple[Iterable[frozenset[str]], Callable[[pa.DataType], bool]]] = {
    "article": (part_names.ARTICLE, is_plain),
    "position": (part_names.POSITION, is_ordered),
    "lane": (part_names.LANE, is_text),
    "tokens": (part_names.TOKENS, is_number),
    "context_tokens": (part_names.CONTEXT_TOKENS, is_number),
    "split": (part_names.SPLIT, is_text),
}
"""The names and the types of the columns that can play each part but those of vectors."""


_OPTIONAL = {"lane", "tokens", "context_tokens", "split", "target"}


def find_columns(
    files: Sequence[InputFile],
    given: Mapping[str, str],
    *,
    shape: WindowShape | None = None,
    layout: Layout | None = None,
    length: int | None = None,
    parts: Sequence[str] | None = None,
) -> FoundColumns:
    """Find the columns of ``files``, of which a few are looked at; ``given`` maps parts to the user's columns.

    Besides vectors those of ``parts`` are found, by default of all.

    ``shape`` is what the models read, if that is known: it decides where the data leaves the width open, and else
    ``length`` does, the vectors of a context. ``layout`` overrides the one that the columns suggest. Raises
    :class:`AmbiguousColumns` if two columns can play a required part or one that changes routes. A file that cannot be
    read is passed over here, and refused by who reads it.
    """
    with ColumnsThere.of(files) as there:
        return _Finder(there, given, layout=layout, shape=shape, length=length).found(parts)


def find_among(
    there: KnownColumns,
    given: Mapping[str, str],
    *,
    parts: Sequence[str],
    shape: WindowShape | None = None,
    layout: Layout | None = None,
) -> FoundColumns:
    """Find the columns of vectors among those ``there``, and those of ``parts``, as :func:`find_columns` does."""
    return _Finder(there, given, layout=layout, shape=shape).found(parts)


class _Finder:
    """Finds the columns of one dataset."""

    def __init__(
        self,
        there: KnownColumns,
        given: Mapping[str, str],
        *,
        layout: Layout | None,
        shape: WindowShape | None = None,
        length: int | None = None,
    ) -> None:
        self._there = there
        self._given = given
        self._shape = shape
        self._usual = shape or WindowShape(length or WindowShape().length)
        self._layout = layout
        self._candidates: dict[str, tuple[str, ...]] = {}
        self._taken: dict[str, str] = {}

    def found(self, parts: Sequence[str] | None = None) -> FoundColumns:
        """Find the columns of vectors, and of every other part, or of ``parts``."""
        self._list_candidates()
        layout = self._find_vectors()
        of_layout = ("context_tokens",) if layout == "windows" else ("tokens", "position")
        for part in ("lane", "split", "article", *of_layout) if parts is None else parts:
            self._take(part, required=layout != "windows" or part not in {"article", "position"})
        names = replace(_USUAL, **self._given, **self._taken)
        shape, is_fixed = self._measured(layout, names), layout == "windows" and self._is_fixed(names)
        return FoundColumns(names, layout, shape, self._taken, self._candidates, is_fixed)

    def _list_candidates(self) -> None:
        contexts, targets, singles = self._vector_columns()
        self._candidates = {"context": contexts, "vector": singles, "target": targets}
        for part, (groups, accepts) in _NAMED.items():
            able = [
                name
                for name, kind in self._there.types.items()
                if accepts(kind) and (name in self._given.values() or is_sound(name, part, self._there))
            ]
            usual = tuple(name for name in able if name == getattr(_USUAL, part))
            self._candidates[part] = tuple(dict.fromkeys((*usual, *part_names.any_group(able, groups))))
        if not self._candidates["article"]:
            self._candidates["article"] = tuple(
                name
                for name, kind in self._there.types.items()
                if is_plain(kind) and part_names.is_maybe_article(name) and self._there.repeats(name)
            )

    def _vector_columns(self) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """Return the columns that can hold contexts, targets and single vectors."""
        able = self._there.vector_columns()
        contexts = [name for name in able if part_names.is_like_context(name) or self._is_nested(name)]
        targets = [name for name in able if name not in contexts and part_names.is_like_target(name)]
        singles = [name for name in able if name not in contexts and name not in targets]
        like = [name for name in singles if part_names.is_like_vector(name)]
        return tuple(contexts), tuple(targets), tuple(like or singles)

    def _is_nested(self, name: str) -> bool:
        """Whether rows hold several vectors, each in a list of its own."""
        width = self._there.width(name)
        return width is not None and (width.n_vectors or 1) > 1

    def _find_vectors(self) -> Layout | None:
        """Decide which layout the dataset has, and find its column of vectors."""
        has_context, has_vector = (self._is_named(part) for part in ("context", "vector"))
        layout = self._layout
        if layout is None and (has_context or has_vector):
            layout = None if has_context and has_vector else "windows" if has_context else "sequences"
            if layout is None:
                return None
        if layout is None:
            layout = self._layout_of_candidates()
        if layout == "windows":
            self._take("context", required=True)
            self._take("target", required=True)
        elif layout == "sequences":
            self._take("vector", required=True)
        return layout

    def _is_named(self, part: str) -> bool:
        """Whether the part's column is given, or one of the usual name can play it."""
        usual: str = getattr(_USUAL, part)
        return (
            part in self._given
            or usual in self._there.vector_columns()
            or (
                # A column of the usual name that is no vector is refused by its type, unless another can play the part.
                usual in self._there.types
                and not self._candidates["context"]
                and not self._candidates["vector"]
            )
        )

    def _layout_of_candidates(self) -> Layout | None:
        contexts, singles = self._candidates["context"], self._candidates["vector"]
        if contexts and singles:
            like = [name for name in singles if part_names.is_like_vector(name)]
            if like:
                raise ambiguous("the vectors", {"context": contexts[:1], "vector": tuple(like[:1])})
        if not contexts and not singles:
            return None
        return "windows" if contexts else "sequences"

    def _take(self, part: str, *, required: bool) -> None:
        """Find the column of a part that is neither given nor has its usual name."""
        usual: str = getattr(_USUAL, part)
        if part in self._given or (usual in self._there.types and self._can_play(usual, part)):
            return
        able = self._candidates[part]
        if part in _NAMED:
            groups, _ = _NAMED[part]
            able = part_names.first_group(able, groups) or able
        able = tuple(name for name in able if name not in self._used())
        if len(able) == 1:
            self._taken[part] = able[0]
        elif len(able) > 1 and required:
            raise ambiguous(NOUNS[part], {part: able})
        elif usual in self._there.types and part in _OPTIONAL:
            self._taken[part] = NO_COLUMN

    def _can_play(self, name: str, part: str) -> bool:
        """Whether a column of the usual name is taken. Lists are no column of single values, such as a list of token
        ids called `tokens`; other wrong types are refused, since what was meant is clear.
        """
        if part in {"context", "vector", "target"}:
            return name in self._there.vector_columns()
        return not pa.types.is_nested(self._there.types[name])

    def _used(self) -> set[str]:
        return {*self._given.values(), *self._taken.values()}

    def _measured(self, layout: Layout | None, names: ColumnNames) -> WindowShape:
        if layout == "windows":
            width = self._there.width(names.context)
            return self._of_contexts(width, self._there.width(names.target)) if width else self._usual
        width = self._there.width(names.vector)
        return replace(self._usual, dim=width.width * (width.n_vectors or 1)) if width else self._usual

    def _is_fixed(self, names: ColumnNames) -> bool:
        """Whether the type says how many vectors a context has; of a flat one, only if nothing else is possible."""
        context = self._there.width(names.context)
        if context is None or not context.by_type:
            return False
        is_certain = context.n_vectors is not None or self._there.width(names.target) is not None
        return is_certain or context.width % self._usual.length > 0

    def _of_contexts(self, context: RowWidth, target: RowWidth | None) -> WindowShape:
        """Return the shape of contexts; flat ones are cut as the target, the models or the usual length say."""
        if context.n_vectors is not None:
            return WindowShape(context.n_vectors, context.width)
        of_models = self._shape.dim if self._shape else 0
        dims = (target.width if target else 0, of_models, context.width / self._usual.length, self._usual.dim)
        dim = next((int(dim) for dim in dims if dim and context.width % dim == 0), None)
        return WindowShape(context.width // dim, dim) if dim else self._usual
