"""How commands end: exit codes, and errors in the requested form."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from lvm_batch.io.errors import DataError, OutputLocked
from lvm_batch.jobs import command_line
from lvm_batch.jobs.cli import _starts_workers, main
from lvm_batch.jobs.errors import (
    GateFailed,
    Interrupted,
    JobError,
    Problem,
    SettingsError,
    Terminated,
    TryAgain,
)
from lvm_batch.lvm.errors import ModelError

if TYPE_CHECKING:
    from lvm_batch.jobs.settings.run import RunSettings

pytestmark = pytest.mark.slow

ENDINGS = [
    (DataError("what", "do"), 2),
    (OutputLocked("what", "do"), 75),
    (ModelError("what", "do"), 2),
    (JobError("what", "do"), 2),
    (SettingsError(Problem("what", "do")), 2),
    (GateFailed("what", "do"), 3),
    (TryAgain("what", "do"), 75),
    (Interrupted("what", "do"), 130),
    (Terminated("what", "do"), 143),
]


def ends_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make every command end with ``error``."""

    def app(**_: object) -> None:
        raise error

    monkeypatch.setattr(command_line, "app", app)


@pytest.mark.parametrize(("error", "code"), ENDINGS, ids=lambda value: type(value).__name__)
def test_errors_become_exit_codes_and_two_lines(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A user error is printed on stderr in two lines, without a traceback."""
    ends_with(monkeypatch, error)
    assert main(["run"]) == code
    assert capsys.readouterr() == ("", "error: what\n  what to do: do\n")


@pytest.mark.parametrize(("error", "code"), ENDINGS, ids=lambda value: type(value).__name__)
def test_errors_become_one_json_object(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --json, an error is printed on stdout with its kind, and stderr is empty."""
    ends_with(monkeypatch, error)
    assert main(["run", "--json"]) == code
    out, err = capsys.readouterr()
    assert json.loads(out) == {"error": {"kind": error.kind, "message": "what", "hint": "do"}}  # type: ignore[attr-defined]
    assert err == ""


def test_verbose_adds_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With -v, every error comes with its traceback."""
    ends_with(monkeypatch, DataError("what", "do"))
    main(["run", "-v"])
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_bug_is_printed_with_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unexpected error exits with 70 and shows where it happened."""
    ends_with(monkeypatch, ZeroDivisionError("by zero"))
    assert main(["run", "--json"]) == 70
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["kind"] == "bug"
    assert "ZeroDivisionError: by zero" in err


def test_text_in_brackets_is_printed_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Paths and hints may hold brackets, colons and long names; none is styled or wrapped."""
    path = "/data/[bold]/:smile:/" + "long" * 100
    ends_with(monkeypatch, DataError(path, 'pip install "lvm-batch[faiss]"'))
    main(["run"])
    assert capsys.readouterr().err == f'error: {path}\n  what to do: pip install "lvm-batch[faiss]"\n'


def test_ctrl_c_exits_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An interrupted command says that the same command resumes."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lvm_batch.jobs.prediction.planning.plan.make_plan", interrupted)
    assert main(["run", "in", "--output", "out"]) == 130
    assert "run the same command again to resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rnu"], "'run'"),
        (["run", "--outptu", "x"], "--output"),
        (["run", "--output"], "--output"),
        (["config"], "Missing command"),
    ],
)
def test_a_wrong_command_line_names_the_right_one(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unknown commands and options are refused with the most similar one, and a pointer to help."""
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert words in err.splitlines()[0]
    assert "--help` shows what it takes" in err.splitlines()[1]


def test_a_wrong_command_line_is_printed_as_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    """--json also applies to a command line that cannot be parsed."""
    assert main(["run", "--json", "--outptu", "x"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["kind"] == "usage"


def test_several_wrong_settings_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """All problems of a command line are reported at once, as text and as JSON."""
    assert main(["run", "in", "--device", "gpu"]) == 2
    err = capsys.readouterr().err
    assert "error: --device cannot be 'gpu'\n  what to do: it can be auto, cpu, cuda, mps\n" in err
    assert "error: no output is given" in err
    main(["run", "in", "--device", "gpu", "--json"])
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["kind"], len(error["problems"])) == ("settings", 2)


@pytest.fixture
def _gated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ends with one row and a failed gate."""
    summary = SimpleNamespace(to_json=lambda: {"rows": 1}, warnings=())
    outcome = SimpleNamespace(summary=summary, text="one row", error=GateFailed("what", "do"))
    engine = SimpleNamespace(run=lambda _settings, **_: outcome)
    monkeypatch.setattr("lvm_batch.jobs.prediction.planning.plan.make_plan", lambda *_, **__: None)
    monkeypatch.setitem(sys.modules, "lvm_batch.jobs.prediction.run", engine)


@pytest.mark.usefixtures("_gated")
def test_a_result_with_an_error_is_printed_with_both(capsys: pytest.CaptureFixture[str]) -> None:
    """A run that finished but failed a gate prints its summary and the error, and exits with 3."""
    assert main(["run", "in", "--output", "out"]) == 3
    assert capsys.readouterr() == ("one row\n", "error: what\n  what to do: do\n")


@pytest.mark.usefixtures("_gated")
def test_a_result_with_an_error_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json the error appears beside the summary, in the same object."""
    assert main(["run", "in", "--output", "out", "--json"]) == 3
    out, err = capsys.readouterr()
    assert json.loads(out) == {"rows": 1, "error": {"kind": "gate", "message": "what", "hint": "do"}}
    assert err == ""


@pytest.mark.parametrize("arguments", [["plan"], ["run", "--dry-run"]], ids=" ".join)
def test_plan_is_a_dry_run(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`plan` and `run --dry-run` print the same plan of the same settings."""

    def preview_job(settings: RunSettings, **_: object) -> tuple[dict[str, object], str]:
        return {"dataset": settings.dataset}, "a plan"

    monkeypatch.setitem(
        sys.modules, "lvm_batch.jobs.prediction.planning.preview", SimpleNamespace(preview_job=preview_job)
    )
    assert main([*arguments, "in", "--output", "out", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"dataset": ["in"]}


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """Without arguments, the command prints its help."""
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("run", "plan", "config"))


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints the installed version."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("lvm-batch 0.")


@pytest.mark.parametrize("closed", [1, 2])
def test_a_closed_stream_changes_nothing(closed: int) -> None:
    """`lvm-batch config show >&-` keeps its exit code; the output is lost."""
    code = "import sys; from lvm_batch.jobs.cli import command; sys.exit(command())"
    line = f'exec "$0" -c "$1" config show {closed}>&-'
    done = subprocess.run(["/bin/sh", "-c", line, sys.executable, code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert bool(done.stdout) == (closed == 2)


def test_a_reader_that_goes_away_changes_nothing() -> None:
    """`lvm-batch config show | head -1` exits as if everything had been read."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as gone:
        code = "import sys; from lvm_batch.jobs.cli import main; sys.exit(main(['config', 'show']))"
        done = subprocess.run([sys.executable, "-c", code], stdout=gone, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("line", "starts"),
    [
        ("run in --output out", True),
        ("run in --output out --dry-run", False),
        ("run in --output out --scheduler=tcp://host:8786", False),
        ("run --help", False),
        ("plan in --output out", False),
        ("", False),
    ],
)
def test_torch_is_loaded_early_for_workers_of_this_machine_alone(line: str, starts: bool) -> None:  # noqa: FBT001
    """As far as the command line and the environment tell, before the options are read."""
    assert _starts_workers(line.split(), {}) == starts
    assert not _starts_workers(line.split(), {"LVM_BATCH_CLUSTER": "slurm"})
