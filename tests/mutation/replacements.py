"""The wrong nodes that may replace a node of a syntax tree, with one function for each kind of node.

A replacement compiles or the compiler refuses it; existing nodes are never changed, only combined anew.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ASSERTION = "strict"
"""An argument of ``zip`` that asserts what holds, and changes nothing where it does."""

_OTHER_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_OTHER_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}
_PAIRS = (
    ("min", "max"),
    ("minimum", "maximum"),
    ("any", "all"),
    ("append", "appendleft"),
    ("pop", "popleft"),
    ("startswith", "endswith"),
    ("floor", "ceil"),
)
_OTHER_NAMES = {a: b for pair in _PAIRS for a, b in (pair, pair[::-1])} | {"sorted": "list"}
_TOLERANCE_FACTOR = 100


def replacements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the replacements of a node, with one fault each."""
    make = _MAKE.get(type(node))
    if make is not None:
        yield from make(node)


def _constant(node: ast.Constant) -> Iterator[ast.AST]:
    match node.value:
        case bool():
            yield ast.Constant(not node.value)
        case int():
            yield from (ast.Constant(node.value + 1), ast.Constant(node.value - 1))
        case float():
            yield ast.Constant(node.value + 1)
            if node.value:
                yield ast.Constant(node.value * _TOLERANCE_FACTOR)
        case str() if " " not in node.value:
            yield ast.Constant(f"XX{node.value}XX")


def _compare(node: ast.Compare) -> Iterator[ast.AST]:
    for number, operator in enumerate(node.ops):
        for other in _OTHER_COMPARISONS[type(operator)]:
            operators = [*node.ops[:number], other(), *node.ops[number + 1 :]]
            yield ast.Compare(node.left, operators, node.comparators)


def _bool_op(node: ast.BoolOp) -> Iterator[ast.AST]:
    """Leave out one operand; if every operand matters, the tests notice a wrong operator too."""
    for rest in _each_left_out(node.values):
        yield ast.BoolOp(node.op, rest) if len(rest) > 1 else rest[0]


def _unary_op(node: ast.UnaryOp) -> Iterator[ast.AST]:
    yield node.operand


def _bin_op(node: ast.BinOp) -> Iterator[ast.AST]:
    if type(node.op) in _OTHER_OPERATORS:
        yield ast.BinOp(node.left, _OTHER_OPERATORS[type(node.op)](), node.right)


def _if_exp(node: ast.IfExp) -> Iterator[ast.AST]:
    yield from (node.body, node.orelse)


def _lambda(node: ast.Lambda) -> Iterator[ast.AST]:
    if not _is_none(node.body):
        yield ast.Lambda(node.args, ast.Constant(None))


def _name(node: ast.Name) -> Iterator[ast.AST]:
    if node.id in _OTHER_NAMES:
        yield ast.Name(_OTHER_NAMES[node.id], node.ctx)


def _attribute(node: ast.Attribute) -> Iterator[ast.AST]:
    if node.attr in _OTHER_NAMES:
        yield ast.Attribute(node.value, _OTHER_NAMES[node.attr], node.ctx)


def _call(node: ast.Call) -> Iterator[ast.AST]:
    """Leave out one keyword argument."""
    for number, keyword in enumerate(node.keywords):
        if keyword.arg != ASSERTION:
            rest = node.keywords[:number] + node.keywords[number + 1 :]
            yield ast.Call(node.func, node.args, rest)


def _dict(node: ast.Dict) -> Iterator[ast.AST]:
    """Leave out one ``**`` part; a string key is mutated as a constant."""
    for number in (number for number, key in enumerate(node.keys) if key is None):
        keys, values = list(node.keys), list(node.values)
        del keys[number], values[number]
        yield ast.Dict(keys, values)


def _subscript(node: ast.Subscript) -> Iterator[ast.AST]:
    """Remove either bound of a slice, or count its length from the other end."""
    if isinstance(node.slice, ast.Slice):
        lower, upper, step = node.slice.lower, node.slice.upper, node.slice.step
        parts = [ast.Slice(None, upper, step)] if lower is not None else []
        parts += [ast.Slice(lower, None, step)] if upper is not None else []
        if lower is None and upper is not None and not isinstance(upper, ast.UnaryOp):
            parts.append(ast.Slice(ast.UnaryOp(ast.USub(), upper), None, step))
        if upper is None and lower is not None and not isinstance(lower, ast.UnaryOp):
            parts.append(ast.Slice(None, ast.UnaryOp(ast.USub(), lower), step))
        yield from (ast.Subscript(node.value, part, node.ctx) for part in parts)


def _comprehension(node: Any) -> Iterator[ast.AST]:  # noqa: ANN401 - there are four kinds, with no base of their own
    """Leave out one condition."""
    fields = dict(ast.iter_fields(node))
    for number, loop in enumerate(node.generators):
        for conditions in _each_left_out(loop.ifs):
            wider = ast.comprehension(loop.target, loop.iter, conditions, loop.is_async)
            loops = [*node.generators[:number], wider, *node.generators[number + 1 :]]
            yield type(node)(**fields | {"generators": loops})


def _left_out(_: ast.stmt) -> Iterator[ast.AST]:
    yield ast.Pass()


def _assign(node: ast.Assign) -> Iterator[ast.AST]:
    """Leave out an assignment, unless it is to a plain name, which would then only be undefined."""
    if not any(isinstance(target, ast.Name) for target in node.targets):
        yield ast.Pass()


def _aug_assign(node: ast.AugAssign) -> Iterator[ast.AST]:
    yield ast.Pass()
    if type(node.op) in _OTHER_OPERATORS:
        yield ast.AugAssign(node.target, _OTHER_OPERATORS[type(node.op)](), node.value)


def _return(node: ast.Return) -> Iterator[ast.AST]:
    yield ast.Pass() if node.value is None or _is_none(node.value) else ast.Return(None)


def _break(_: ast.Break) -> Iterator[ast.AST]:
    yield ast.Continue()


def _continue(_: ast.Continue) -> Iterator[ast.AST]:
    yield ast.Break()


def _if(node: ast.If) -> Iterator[ast.AST]:
    """Make the condition always and never true; if tests notice both, they notice the opposite condition too."""
    for always in (True, False):
        yield ast.If(ast.Constant(always), node.body, node.orelse)


def _while(node: ast.While) -> Iterator[ast.AST]:
    if not isinstance(node.test, ast.Constant):
        yield ast.While(ast.Constant(value=False), node.body, node.orelse)


def _for(node: ast.For) -> Iterator[ast.AST]:
    """End the loop after the first turn."""
    yield ast.For(node.target, node.iter, [*node.body, ast.Break()], node.orelse)


def _with(node: ast.With) -> Iterator[ast.AST]:
    if all(item.optional_vars is None for item in node.items):
        yield _block(node.body)


def _try(node: ast.Try) -> Iterator[ast.AST]:
    """Leave out one handler, or the ``finally`` block."""
    for handlers in _each_left_out(node.handlers):
        yield _tried(node, handlers, node.finalbody)
    if node.finalbody:
        yield _tried(node, node.handlers, [])


def _tried(node: ast.Try, handlers: list[ast.ExceptHandler], at_last: list[ast.stmt]) -> ast.stmt:
    if not handlers and not at_last:
        return _block(node.body + node.orelse)
    return ast.Try(node.body, handlers, node.orelse if handlers else [], at_last)


def _definition(node: Any) -> Iterator[ast.AST]:  # noqa: ANN401 - a function or a class
    """Leave out one decorator."""
    fields = dict(ast.iter_fields(node))
    for decorators in _each_left_out(node.decorator_list):
        yield type(node)(**fields | {"decorator_list": decorators})


def _block(body: list[ast.stmt]) -> ast.stmt:
    return ast.If(ast.Constant(value=True), body, [])


def _each_left_out(items: list[Any]) -> Iterator[list[Any]]:
    return (items[:number] + items[number + 1 :] for number in range(len(items)))


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


_MAKE: dict[type[ast.AST], Callable[[Any], Iterator[ast.AST]]] = {
    ast.Constant: _constant,
    ast.Compare: _compare,
    ast.BoolOp: _bool_op,
    ast.UnaryOp: _unary_op,
    ast.BinOp: _bin_op,
    ast.IfExp: _if_exp,
    ast.Lambda: _lambda,
    ast.Name: _name,
    ast.Attribute: _attribute,
    ast.Call: _call,
    ast.Dict: _dict,
    ast.Subscript: _subscript,
    ast.ListComp: _comprehension,
    ast.SetComp: _comprehension,
    ast.DictComp: _comprehension,
    ast.GeneratorExp: _comprehension,
    ast.Expr: _left_out,
    ast.Delete: _left_out,
    ast.Raise: _left_out,
    ast.Assign: _assign,
    ast.AugAssign: _aug_assign,
    ast.Return: _return,
    ast.Break: _break,
    ast.Continue: _continue,
    ast.If: _if,
    ast.While: _while,
    ast.For: _for,
    ast.With: _with,
    ast.Try: _try,
    ast.FunctionDef: _definition,
    ast.AsyncFunctionDef: _definition,
    ast.ClassDef: _definition,
}
