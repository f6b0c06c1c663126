"""Puts small faults into a module's syntax tree, one at a time.

A mutation changes what the module does. Docstrings, annotations, ``TYPE_CHECKING`` blocks, the arguments of
``@dataclass`` and ``strict=`` of ``zip`` stay unchanged, and so do texts for people: messages in ``raise``, and
strings with a space in them.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from replacements import ASSERTION, replacements

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType

_LEFT_ALONE = {"annotation", "returns", "type_params", "format_spec", "type_comment"}
_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Mutant:
    """One changed place: ``line`` of the module, whose source is ``text``, and the change ``before`` ->
    ``after``.

    ``lines`` are those of the surrounding statement, or of its head.
    """

    line: int
    lines: range
    text: str
    before: str
    after: str

    @property
    def change(self) -> str:
        """The change, in one line."""
        return f"{self.before} -> {self.after}"


@dataclass(frozen=True, slots=True)
class _Place:
    """A node, a function that replaces it, and its replacements; ``lines`` as in a mutant."""

    node: ast.stmt | ast.expr
    put: Callable[[ast.AST], None]
    lines: range
    others: Callable[[], Iterator[ast.AST]]


def mutants(source: str, filename: str) -> Iterator[tuple[Mutant, CodeType]]:
    """Yield every mutant of a module, with its compiled code."""
    tree = ast.parse(source)
    texts = source.splitlines()
    for place in _places(tree, range(0)):
        before, line = _shown(place.node), place.node.lineno
        for other in place.others():
            place.put(ast.fix_missing_locations(ast.copy_location(other, place.node)))
            code = _compiled(tree, filename)
            place.put(place.node)
            if code is not None:
                yield Mutant(line, place.lines, texts[line - 1].strip(), before, _shown(other)), code


def _compiled(tree: ast.Module, filename: str) -> CodeType | None:
    try:
        return compile(tree, filename, "exec", dont_inherit=True)
    except SyntaxError:  # such as a break outside of a loop
        return None


def _places(parent: ast.AST, lines: range, *, is_text: bool = False) -> Iterator[_Place]:
    """Yield the places below ``parent`` that may be changed; with ``is_text``, strings there are for people."""
    for field, value in ast.iter_fields(parent):
        if field in _LEFT_ALONE:
            continue
        if isinstance(value, ast.AST):
            yield from _place(value, _put_in_field(parent, field), lines, is_text=is_text)
        elif isinstance(value, list):
            for number, item in enumerate(value):
                if isinstance(item, ast.AST):
                    yield from _place(item, _put_in_list(value, number), lines, is_text=is_text)
            yield from _pairs(value)


def _place(node: ast.AST, put: Callable[[ast.AST], None], lines: range, *, is_text: bool) -> Iterator[_Place]:
    if _is_left_alone(node):
        return
    if isinstance(node, ast.stmt):
        lines = _lines(node)
    is_text = is_text or _is_for_people(node)
    if isinstance(node, (ast.stmt, ast.expr)) and not (is_text and _is_string(node)):
        yield _Place(node, put, lines, lambda: replacements(node))
    yield from _places(node, lines, is_text=is_text)


def _pairs(statements: list[ast.AST]) -> Iterator[_Place]:
    """Yield pairs of successive calls, to be swapped."""
    for number, (first, second) in enumerate(pairwise(statements)):
        if isinstance(first, ast.Expr) and isinstance(second, ast.Expr) and not _is_left_alone(first):
            other = ast.Expr(second.value)
            yield _Place(
                first, _put_pair(statements, number), _lines(first), lambda other=other: iter([other])
            )  # type: ignore[misc]


def _put_in_field(parent: ast.AST, field: str) -> Callable[[ast.AST], None]:
    return lambda node: setattr(parent, field, node)


def _put_in_list(items: list[ast.AST], number: int) -> Callable[[ast.AST], None]:
    return lambda node: items.__setitem__(number, node)


def _put_pair(items: list[ast.AST], number: int) -> Callable[[ast.AST], None]:
    first, second = items[number : number + 2]

    def put(node: ast.AST) -> None:
        items[number : number + 2] = [first, second] if node is first else [node, first]

    return put


def _lines(statement: ast.stmt) -> range:
    """Return the lines of a simple statement, or of the head and decorators of a compound one."""
    first = min([statement.lineno, *(each.lineno for each in getattr(statement, "decorator_list", ()))])
    body = getattr(statement, "body", None)
    end = max(body[0].lineno, statement.lineno + 1) if body else (statement.end_lineno or first) + 1
    return range(first, end)


def _is_left_alone(node: ast.AST) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom():
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Expr(value=ast.Constant()):  # a docstring
            return True
        case ast.Subscript(value=ast.Name(id="Literal")):
            return True
        case ast.Call(func=ast.Name(id="dataclass")):
            return True
    return isinstance(node, ast.keyword) and node.arg == ASSERTION


def _is_for_people(node: ast.AST) -> bool:
    """Whether the strings below a node are for people."""
    if isinstance(node, ast.JoinedStr):
        return any(" " in part.value for part in node.values if isinstance(part, ast.Constant))
    return isinstance(node, ast.Raise)


def _is_string(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _shown(node: ast.AST) -> str:
    text = ast.unparse(node).partition("\n")[0]
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
