"""The package ``lvm_batch`` itself: its names, its stub, its errors, and ``python -m lvm_batch``."""

from __future__ import annotations

import ast
import importlib
import pickle
import pkgutil
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from support.stub import STUB, stub_text

import lvm_batch
from lvm_batch import io, jobs, lvm
from lvm_batch.errors import LvmBatchError
from lvm_batch.io.errors import OutputLocked, UnreadableFile
from lvm_batch.jobs.console.exit_codes import error_as_dict, exit_code_of
from lvm_batch.jobs.errors import GateFailed, JobError, Problem, SettingsError
from lvm_batch.lvm.errors import ModelError

TOP = Path(__file__).parents[3]


def errors() -> set[type[LvmBatchError]]:
    """Every class of errors in the modules that are named for them, and those of commands."""
    for room in (io, lvm, jobs):
        importlib.import_module(f"{room.__name__}.errors")
    found, waiting = set(), [LvmBatchError]
    while waiting:
        found.add(kind := waiting.pop())
        waiting += kind.__subclasses__()
    return {kind for kind in found if kind.__module__.startswith("lvm_batch.")}


@pytest.mark.parametrize("name", lvm_batch.__all__)
def test_a_public_name_is_there(name: str) -> None:
    """Each name brings its module on first use, and has a documentation."""
    assert getattr(lvm_batch, name).__doc__


def test_other_names_are_no_attributes() -> None:
    """The version is that of the installed package, and an unknown name is an ``AttributeError``."""
    assert lvm_batch.__version__ == version("lvm-batch")
    assert dir(lvm_batch) == sorted([*lvm_batch.__all__, "__version__"])
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        _ = lvm_batch.runn


def test_the_stub_says_what_the_functions_are() -> None:
    """If this fails, ``make stubs`` writes it anew: a function, a setting or its help has changed."""
    assert ast.dump(ast.parse(STUB.read_text(encoding="utf-8"))) == ast.dump(ast.parse(stub_text()))


def test_everything_in_the_packages_folder_is_installed() -> None:
    """A wheel contains the stub and the mark of a typed package; type checkers see links to the same files."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))
    data = project["tool"]["setuptools"]["package-data"]["lvm_batch"]
    names = {path.name for path in STUB.parent.iterdir() if path.name != "__pycache__"}
    assert names == {
        *data,
        *(f"{each.name}.py" for each in pkgutil.iter_modules([STUB.parent])),
        "__init__.py",
    }
    assert names <= set(
        (TOP / "Makefile").read_text(encoding="utf-8").replace(",", " ").replace(")", " ").split()
    )


@pytest.mark.parametrize("kind", sorted(errors(), key=lambda kind: (kind.__module__, kind.__name__)))
def test_an_error_survives_pickling(kind: type[LvmBatchError]) -> None:
    """Its class, texts, kind and exit code are the same after it has come from another process."""
    error = kind(Problem("what", "do")) if issubclass(kind, SettingsError) else kind("what", "do")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert type(again) is kind
    assert (again.message, again.hint) == ("what", "do")
    assert (again.kind, again.exit_code) == (error.kind, error.exit_code)
    assert str(again) == "what\n  what to do: do"
    assert exit_code_of(again) == again.exit_code


def test_an_error_keeps_what_it_carries() -> None:
    """Also after pickling: the file that is damaged, and the result that a gate has refused."""
    failed = GateFailed("what", "do")
    failed.result = {"rows": 3}
    damaged = UnreadableFile("what", "do", "a.parquet")
    assert pickle.loads(pickle.dumps(failed)).result == {"rows": 3}  # noqa: S301
    assert pickle.loads(pickle.dumps(damaged)).path == "a.parquet"  # noqa: S301


def test_the_text_of_settings_has_all_problems() -> None:
    """A traceback shows what is wrong with each of them, and what to do."""
    text = str(SettingsError(Problem("a is wrong", "mend a"), Problem("b is wrong", "mend b")))
    assert all(part in text for part in ("a is wrong", "mend a", "b is wrong", "mend b"))


def test_the_bases_are_grouped_by_room() -> None:
    """One base catches all; an output that is locked is the one error of ``io`` that may pass."""
    assert issubclass(JobError, LvmBatchError)
    assert issubclass(ModelError, LvmBatchError)
    assert exit_code_of(OutputLocked("what")) == 75
    assert error_as_dict(OutputLocked("what", "do")) == {"kind": "locked", "message": "what", "hint": "do"}
