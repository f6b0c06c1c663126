"""Which column plays which part, in the two layouts.

The rule: everything that can be wrong with a file's columns is found here, from its schema alone, before a row is
read.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from lvm_batch.io.dataset.column_checks import (
    check_type,
    is_absent,
    is_number,
    is_ordered,
    is_plain,
    is_text,
    listed,
    refuse_carried,
    refuse_repeated,
    rename_hint,
)
from lvm_batch.io.errors import ColumnError
from lvm_batch.io.schema import EVERY_COLUMN, ROW_POSITION, ColumnNames, Layout, Roles, WindowShape
from lvm_batch.io.vectors.types import check_vector_type, flat_width, holds_vectors, vector_width

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    import pyarrow as pa

    from lvm_batch.io.schema import ColumnChoice


def assign_roles(
    schema: pa.Schema,
    file: str,
    *,
    names: ColumnNames,
    shape: WindowShape,
    layout: Layout | None = None,
    rename: Mapping[str, str] | None = None,
    choice: ColumnChoice = EVERY_COLUMN,
    writes_rows: bool = True,
    has_rows: bool = True,
) -> Roles:
    """Assign each column of ``schema`` its part.

    ``layout`` overrides the layout that the columns suggest; ``choice`` says which columns are carried, and ``rename``
    maps those to their names in the output, which must be free there if ``writes_rows``. A column of type null plays
    no part. A file without rows need not have the columns of vectors, articles and positions: writers give its columns
    the type null. Raises :class:`ColumnError`, naming ``file``, if a required column is missing, has the wrong type or
    width or occurs twice, or if a carried one collides with a column of the output.
    """
    refuse_repeated(schema, file)
    there = {field.name for field in schema if not is_absent(field.type)}
    try:
        roles = _required(schema, file, layout, names, there)
    except ColumnError:
        if has_rows:
            raise
        roles = replace(_named(set(), "windows", names), vectors="")
    else:
        _check_types(schema, file, roles, names=names, shape=shape)
    vectors = {roles.vectors or names.vector} | ({names.target} if roles.layout == "windows" else set())
    names_carried = [name for name in schema.names if name not in vectors and choice.keeps(name)]
    carried = _carried(names_carried, file, rename or {})
    if writes_rows:
        refuse_carried(carried, file)
    return replace(roles, carried=carried)


def _required(
    schema: pa.Schema, file: str, layout: Layout | None, names: ColumnNames, there: Collection[str]
) -> Roles:
    """Find the columns by their names; raise :class:`ColumnError` if a required one is missing."""
    layout = layout or _detect_layout(schema, file, names, there)
    _refuse_missing(schema, file, layout, names, there)
    return _named(there, layout, names)


def _named(there: Collection[str], layout: Layout, names: ColumnNames) -> Roles:
    """Find the columns by their names, without the carried ones."""

    def found(name: str) -> str | None:
        return name if name in there else None

    sequences = layout == "sequences"
    return Roles(
        layout=layout,
        vectors=names.vector if sequences else names.context,
        target=None if sequences else found(names.target),
        lane=found(names.lane),
        tokens=found(names.tokens if sequences else names.context_tokens),
        split=found(names.split),
        article=names.article if sequences else None,
        position=names.position if sequences and names.position != ROW_POSITION else None,
        carried={},
    )


def _check_types(
    schema: pa.Schema, file: str, roles: Roles, *, names: ColumnNames, shape: WindowShape
) -> None:
    _check_vectors(schema, file, roles.vectors, shape.length if roles.layout == "windows" else 1, shape.dim)
    if roles.target is not None:
        _check_vectors(schema, file, roles.target, 1, shape.dim)
    if roles.layout == "windows":
        _refuse_doubtful_width(schema, file, roles.vectors, roles.target, shape)
    check_type(schema, file, roles.lane, is_text, names)
    check_type(schema, file, roles.tokens, is_number, names)
    check_type(schema, file, roles.position, is_ordered, names)
    check_type(schema, file, roles.article, is_plain, names)


def _detect_layout(schema: pa.Schema, file: str, names: ColumnNames, there: Collection[str]) -> Layout:
    has_context, has_vector = names.context in there, names.vector in there
    if has_context and has_vector:
        # A text may be called `context`, too: what holds no vectors is no layout's column.
        has_context, has_vector = (
            holds_vectors(schema.field(name).type) for name in (names.context, names.vector)
        )
    if has_context and has_vector:
        raise ColumnError(
            f"{file} has both a `{names.context}` and a `{names.vector}` column",
            "say which one to read: --layout windows or --layout sequences",
        )
    if not has_context and not has_vector:
        raise ColumnError(
            f"{file} has neither a `{names.context}` nor a `{names.vector}` column; it has {listed(schema)}",
            rename_hint(
                schema, dict.fromkeys((names.context, names.vector), holds_vectors), names, joined=" or "
            ),
        )
    return "windows" if has_context else "sequences"


def _refuse_missing(
    schema: pa.Schema, file: str, layout: Layout, names: ColumnNames, there: Collection[str]
) -> None:
    sequences = layout == "sequences"
    accepts = {names.vector: holds_vectors, names.article: is_plain, names.position: is_ordered}
    accepts = accepts if sequences else {names.context: holds_vectors}
    missing = [name for name in accepts if name not in there and name != ROW_POSITION]
    if missing:
        columns = " and ".join(f"`{name}`" for name in missing)
        raise ColumnError(
            f"{file} has no {columns} column, which the {layout} layout needs; it has {listed(schema)}",
            rename_hint(schema, {name: accepts[name] for name in missing}, names),
        )


def _check_vectors(schema: pa.Schema, file: str, name: str, length: int, dim: int) -> None:
    problem = check_vector_type(schema.field(name).type, length=length, dim=dim)
    if problem:
        raise ColumnError(f"{file}: column `{name}` {problem}", _vector_hint(length, dim))


def _refuse_doubtful_width(
    schema: pa.Schema, file: str, contexts: str, target: str | None, shape: WindowShape
) -> None:
    """Refuse contexts that would silently be cut into vectors of a wrong width.

    A flat row does not say where its vectors end. If the model's width is not the usual one, no target confirms it, and
    the row makes ``shape.length`` vectors of another width, the row most likely holds those.
    """
    width = flat_width(schema.field(contexts).type)
    if shape.dim == WindowShape().dim or width in {None, shape.width} or width % shape.length:
        return
    if target is None or vector_width(schema.field(target).type, usual=shape.dim) != shape.dim:
        raise ColumnError(
            f"{file}: column `{contexts}` holds {shape.length} vectors of {width // shape.length} a row, and the "
            f"model reads vectors of {shape.dim}",
            f"use a model of vectors of {width // shape.length}; if these are {width // shape.dim} vectors of "
            f"{shape.dim}, write them as lists of {shape.dim}",
        )


def _carried(names: Iterable[str], file: str, rename: Mapping[str, str]) -> dict[str, str]:
    carried = {name: rename.get(name, name) for name in names}
    twice = [new for new, count in Counter(carried.values()).items() if count > 1]
    if twice:
        raise ColumnError(
            f"{file}: --rename gives two columns the name `{twice[0]}`",
            "choose a name that no carried column has",
        )
    return carried


def _vector_hint(length: int, dim: int) -> str:
    reason = "" if dim == WindowShape().dim else f"the model reads vectors of {dim}: "
    if length == 1:
        return f"{reason}each row must hold one vector of {dim} floats"
    return (
        f"{reason}each row must hold {length} vectors of {dim} floats: "
        f"a list of {length * dim}, {length} lists of {dim}, a tensor [{length}, {dim}], or "
        f"binary of {length * dim * 4} (float32) or {length * dim * 2} (float16) bytes"
    )
