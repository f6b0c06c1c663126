"""Rules for the project's own documents: their links, the files that they name, and news fragments."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

TOP = Path(__file__).parents[1]
FOLDERS = ("docs", "io", "jobs", "lvm", "tests", "workflows")
LINK = re.compile(r"\]\((?![a-z]+:)([^)\s#]*)(?:#([^)\s]*))?\)")
NAMED = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*(?:\.\w+|/))`")

DEFINED = re.compile(r"((?:`[\w.]+`(?:, | and |, and )?)+) \(`([\w/]+\.py)`\)")


def documents() -> dict[Path, str]:
    """The text of every Markdown file of the project."""
    paths = [*TOP.glob("*.md"), *(path for folder in FOLDERS for path in (TOP / folder).rglob("*.md"))]
    return {path: path.read_text(encoding="utf-8") for path in paths}


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub generates for the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def leads_somewhere(document: Path, target: str, anchor: str) -> bool:
    """Whether the file ``target`` exists beside ``document`` and has a heading for ``anchor``."""
    path = document.parent / target if target else document
    return path.exists() and (not anchor or anchor in anchors(path))


def test_links_lead_somewhere() -> None:
    """A link within the repository leads to an existing file, and to one of its headings."""
    broken = [
        f"{document.relative_to(TOP)}: {target}#{anchor}"
        for document, text in documents().items()
        for target, anchor in LINK.findall(text)
        if not leads_somewhere(document, target, anchor)
    ]
    assert not broken


def test_named_files_exist() -> None:
    """A file or folder that a document names by its path exists."""
    missing = [
        f"{document.relative_to(TOP)}: {name}"
        for document, text in documents().items()
        for name in NAMED.findall(text)
        if not (TOP / name).exists()
    ]
    assert not missing


def definitions(module: Path) -> set[str]:
    """The names that a module defines at its top, and the methods of its classes after their class's name."""
    names: set[str] = set()
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef(name=name):
                names.add(name)
            case ast.ClassDef(name=name, body=body):
                names |= {
                    name,
                    *(f"{name}.{inner.name}" for inner in body if isinstance(inner, ast.FunctionDef)),
                }
    return names


def named_definitions() -> list[tuple[Path, str, Path]]:
    """Every document with a name that it gives a module for, as in "`run` (`run.py`)", and that module."""
    return [
        (
            document,
            name,
            next((path for path in (document.parent / module, TOP / module) if path.exists()), TOP),
        )
        for document, text in documents().items()
        for names, module in DEFINED.findall(" ".join(text.split()))
        for name in re.findall(r"`([\w.]+)`", names)
    ]


def test_named_functions_exist() -> None:
    """A function or class that a document names together with its module is defined there."""
    missing = [
        f"{document.relative_to(TOP)}: {name}"
        for document, name, module in named_definitions()
        if not module.is_file() or name not in definitions(module)
    ]
    assert not missing


def test_a_row_is_followed_through_the_code() -> None:
    """The walk of jobs/prediction/README.md names functions of every folder that a row passes."""
    walk = [module for document, _, module in named_definitions() if document.parent.name == "prediction"]
    folders = {str(module.parent.relative_to(TOP)) for module in walk}
    engine = {f"jobs/prediction/{name}" for name in ("planning", "execution", "results")}
    assert folders >= engine | {"io/dataset", "lvm/inference", "io/output"}


def test_every_decision_is_listed() -> None:
    """CONTRIBUTING.md links to every decision file."""
    contributing = (TOP / "CONTRIBUTING.md").read_text(encoding="utf-8")
    decisions = [str(path.relative_to(TOP)) for path in documents() if path.name == "DESIGN.md"]
    assert decisions
    assert not [path for path in decisions if f"({path})" not in contributing]


def test_fragments_have_a_topic_and_a_type() -> None:
    """A news fragment is called ``<topic>.<type>.md``; towncrier refuses any other name."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))
    name = re.compile(rf"[a-z0-9-]+\.({'|'.join(project['tool']['towncrier']['fragment'])})\.md")
    others = {"README.md", project["tool"]["towncrier"]["template"].rpartition("/")[2]}
    fragments = {path.name for path in (TOP / "docs/changes").iterdir()} - others
    assert not [fragment for fragment in fragments if not name.fullmatch(fragment)]
