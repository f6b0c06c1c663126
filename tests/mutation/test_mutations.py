"""Tests of the mutation tester: which mutations it makes, and what it leaves unchanged."""

from __future__ import annotations

from textwrap import dedent

import pytest
from mutations import mutants


def changes(source: str) -> list[str]:
    """The changes to a module, in order."""
    return [mutant.change for mutant, _ in mutants(dedent(source), "module.py")]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < 1", ["a < 1 -> a <= 1", "a < 1 -> a >= 1", "1 -> 2", "1 -> 0"]),
        ("a in b", ["a in b -> a not in b"]),
        ("a and b and c", ["a and b and c -> " + rest for rest in ("b and c", "a and c", "a and b")]),
        ("not a", ["not a -> a"]),
        ("a - b", ["a - b -> a + b"]),
        ("0.001", ["0.001 -> 1.001", "0.001 -> 0.1"]),
        ("True", ["True -> False"]),
        ("None", []),
        ("'key'", ["'key' -> 'XXkeyXX'"]),
        ("a if b else c", ["a if b else c -> a", "a if b else c -> c"]),
        ("lambda: a", ["lambda: a -> lambda: None"]),
        ("min(a)", ["min -> max"]),
        ("f(a, b=c)", ["f(a, b=c) -> f(a)"]),
        ("zip(a, b, strict=True)", []),
        ("{**a, b: c}", ["{**a, b: c} -> {b: c}"]),
        ("a[:b]", ["a[:b] -> a[:]", "a[:b] -> a[-b:]"]),
        ("a[b:]", ["a[b:] -> a[:]", "a[b:] -> a[:-b]"]),
        ("[a for a in b if c]", ["[a for a in b if c] -> [a for a in b]"]),
    ],
)
def test_an_expression_is_changed_in_each_of_these_ways(source: str, expected: list[str]) -> None:
    """An expression is changed in one place at a time."""
    assert changes(f"x = {source}") == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("f()", ["f() -> pass"]),
        ("f()\ng()", ["f() -> pass", "g() -> pass", "f() -> g()"]),
        ("a.b = c", ["a.b = c -> pass"]),
        ("a += b", ["a += b -> pass", "a += b -> a -= b"]),
        ("raise a", ["raise a -> pass"]),
        ("def f():\n    return a", ["return a -> return"]),
        ("if a:\n    b", ["if a: -> if True:", "if a: -> if False:", "b -> pass"]),
        ("while a:\n    break", ["while a: -> while False:", "break -> continue"]),
        ("for a in b:\n    continue", ["for a in b: -> for a in b:", "continue -> break"]),
        ("with a:\n    b", ["with a: -> if True:", "b -> pass"]),
        ("try:\n    a\nexcept b:\n    c", ["try: -> if True:", "a -> pass", "c -> pass"]),
        ("@a\ndef f(): b", ["@a -> def f():", "b -> pass"]),
    ],
)
def test_a_statement_is_changed_in_each_of_these_ways(source: str, expected: list[str]) -> None:
    """A statement is changed in one place at a time; two successive calls are also swapped."""
    assert changes(source) == expected


def test_code_without_effect_is_left_alone() -> None:
    """Docstrings, annotations, type-checking blocks and dataclass arguments are not mutated."""
    source = '''
        """A module."""
        import a
        if TYPE_CHECKING:
            b = 1
        Kind = Literal["x"]
        @dataclass(frozen=True)
        class C:
            """A class."""
            d: Literal[1]
            def e(self, f: int = g) -> Literal[2]:
                """A function."""
    '''
    assert changes(source) == ["@dataclass(frozen=True) -> class C:"]


def test_texts_for_people_are_left_alone() -> None:
    """Strings in ``raise`` and strings with a space are not mutated; numbers in an error are."""
    source = """
        a = "two words"
        b = f"{c} and {d + e}"
        raise F(f"row:{1}", "g")
    """
    assert changes(source) == [
        "d + e -> d - e",
        "raise F(f'row:{1}', 'g') -> pass",
        "1 -> 2",
        "1 -> 0",
    ]


def test_a_mutant_differs_in_one_place() -> None:
    """A mutant gives its line, and the lines of the surrounding statement, which may be several."""
    source = "a = [\n    1,\n    2,\n]\nb = 3\n"
    found = []
    for mutant, code in mutants(source, "module.py"):
        values: dict[str, object] = {}
        exec(code, values)  # noqa: S102 - a list and a number
        found.append((mutant.line, mutant.lines, mutant.text, values["a"], values["b"]))
    assert found == [
        (2, range(1, 5), "1,", [2, 2], 3),
        (2, range(1, 5), "1,", [0, 2], 3),
        (3, range(1, 5), "2,", [1, 3], 3),
        (3, range(1, 5), "2,", [1, 1], 3),
        (5, range(5, 6), "b = 3", [1, 2], 4),
        (5, range(5, 6), "b = 3", [1, 2], 2),
    ]
