"""Arguments of the functions become settings as options of the command do, and errors are the command's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import lvm_batch
from lvm_batch.jobs.errors import SettingsError, SurroundingsError, TryAgain, UsageError
from lvm_batch.jobs.python.calls import at_work, raising_errors, takes_settings
from lvm_batch.jobs.settings.run import RunSettings

if TYPE_CHECKING:
    from lvm_batch.jobs.console.console import Console
    from lvm_batch.jobs.settings.sources import ResolvedSettings


@takes_settings(RunSettings, own={"twice": "Whether twice."})
def resolved(
    resolved: ResolvedSettings[RunSettings], *, console: Console, twice: bool = False
) -> tuple[RunSettings, Any, bool, bool]:
    """Return what the call became."""
    return resolved.settings, resolved.origins, console.progress.quiet, twice


def settings_of(*arguments: Any, **given: Any) -> RunSettings:  # noqa: ANN401 - of any setting
    """The settings of a call."""
    return resolved(*arguments, **{"output": "out", **given})[0]


def test_an_argument_goes_before_the_environment_and_that_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with the command: argument, variable, file, default."""
    (tmp_path / "job.toml").write_text(
        'dataset = ["in"]\noutput = "a"\nmin_margin = 0.5\nmin_confidence = 0.5\n'
    )
    monkeypatch.setenv("LVM_BATCH_OUTPUT", "b")
    monkeypatch.setenv("LVM_BATCH_MIN_CONFIDENCE", "0.6")
    settings, origins, *_ = resolved(config=tmp_path / "job.toml", output="c")
    assert (settings.output, settings.min_confidence, settings.min_margin) == ("c", 0.6, 0.5)
    assert [origins[name] for name in ("output", "min_confidence", "min_margin", "pad")] == [
        "flag",
        "environment",
        "config",
        "default",
    ]
    assert settings.dataset == ("in",)
    monkeypatch.setenv("LVM_BATCH_CONFIG", str(tmp_path / "job.toml"))
    assert resolved()[0].output == "b"


def test_paths_and_lists_are_taken_in_every_form() -> None:
    """A dataset is one path or several, each a text or a ``Path``."""
    for dataset in ("in", Path("in"), ["in"], (Path("in"),)):
        assert settings_of(dataset, model=Path("m.pt")).dataset == ("in",)
    assert settings_of("in", model=Path("m.pt")).model == "m.pt"
    assert settings_of(["a", Path("b")], high_stakes_lane="law").high_stakes_lane == ("law",)
    assert settings_of("in", rename=("a=b", "c=d")).rename == ("a=b", "c=d")


def test_values_may_be_of_pythons_own_types() -> None:
    """Numbers, sizes in bytes, dates, times and tables need not be written as texts."""
    given = settings_of("in", since=date(2026, 1, 2), unit_size=2**20, workers=2, slurm={"cores": 4})
    assert given.since == datetime(2026, 1, 2, tzinfo=UTC)
    assert (given.unit_size, given.workers, given.slurm) == (2**20, 2, {"cores": 4})
    assert settings_of("in", unit_size="1MiB") == settings_of("in", unit_size=2**20)
    assert settings_of("in", min_margin=np.float32(0.5), workers=np.int64(2)).workers == 2
    assert settings_of("in/{date}", as_of=date(2026, 1, 2)).dataset == ("in/2026-01-02",)


def test_none_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a wrapper can pass on what it was not given either."""
    monkeypatch.setenv("LVM_BATCH_PAD", "zero")
    assert settings_of("in", pad=None).pad == "zero"


def test_all_that_is_wrong_is_raised_at_once() -> None:
    """Unknown names with the nearest right one, wrong values and missing ones, by their names in Python."""
    with pytest.raises(SettingsError) as caught:
        resolved(batchsize=3, unit_sise="1MiB", min_margin="x")
    assert {problem.message: problem.hint for problem in caught.value.problems} == {
        "batchsize is not a setting": "`lvm-batch config schema` lists every setting",
        "unit_sise is not a setting": "did you mean unit_size?",
        "min_margin cannot be 'x'": "it can be a number from 0 to 2",
        "no dataset is given": "give dataset, set LVM_BATCH_DATASET, or write dataset in a --config file",
        "no output is given": "give output, set LVM_BATCH_OUTPUT, or write output in a --config file",
    }


def test_a_function_may_have_parameters_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """They are no settings; ``progress=False`` makes the console quiet. Nothing is printed."""
    assert resolved("in", output="out")[2:] == (False, False)
    assert resolved("in", output="out", twice=True, progress=False)[2:] == (True, True)
    assert capsys.readouterr() == ("", "")


def test_a_config_that_is_no_file_is_an_error(tmp_path: Path) -> None:
    """Of the settings; a URL cannot be one."""
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        resolved(config=tmp_path / "none.toml")
    with pytest.raises(UsageError, match=r"config cannot be 's3://b/job\.toml'"):
        resolved(config="s3://b/job.toml")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(28, "No space left on device", "out"), SurroundingsError),
        (ConnectionRefusedError(111, "Connection refused"), TryAgain),
    ],
)
def test_errors_of_the_system_are_those_of_the_command(error: OSError, kind: type[Exception]) -> None:
    """They say what to do, and the original is their cause."""
    with pytest.raises(kind) as caught, raising_errors():
        raise error
    assert caught.value.__cause__ is error
    assert caught.value.hint


def test_a_bug_is_raised_as_it_is() -> None:
    """With its own class and traceback."""
    with pytest.raises(ZeroDivisionError), raising_errors():
        1 / 0  # noqa: B018 - it raises


def test_calls_of_several_threads_work_one_after_the_other() -> None:
    """Each changes the environment and Dask's settings while it works."""
    working: list[int] = []

    def work(_: int) -> int:
        with at_work():
            working.append(1)
            try:
                return len(working)
            finally:
                working.pop()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(40))) == [1] * 40


def test_unknown_arguments_are_refused_before_anything_is_read() -> None:
    """The same holds for every function."""
    for function in (lvm_batch.run, lvm_batch.plan, lvm_batch.train, lvm_batch.evaluate, lvm_batch.inspect):
        with pytest.raises(SettingsError, match="did you mean dataset"):
            function(datasets="nowhere")
