"""Tests of warnings about results: each names its figure and the next command, and chance is no reason for one."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.documents import job_of, record_of
from support.outputs import write_output

from lvm_batch.io.output.job_documents import FORMAT
from lvm_batch.io.output.tally import SquareSums
from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.errors import GateFailed, UsageError
from lvm_batch.jobs.prediction.results.next_commands import NextCommands
from lvm_batch.jobs.prediction.results.run_warnings import warnings_of, warnings_of_run
from lvm_batch.jobs.prediction.results.status import status
from lvm_batch.jobs.prediction.results.summary import RunWarning, Selection, Summary, UsedModel
from lvm_batch.jobs.prediction.results.summary_text import totals_lines
from lvm_batch.jobs.prediction.results.totals import ERRORS, MIN_ROWS, NO_GAIN, Gain, Totals, totals_of
from lvm_batch.jobs.prediction.results.verdict import Limits, verdict
from lvm_batch.jobs.settings.evaluate import EvaluateSettings
from lvm_batch.jobs.settings.fields import NO_EFFECT, effect_of
from lvm_batch.jobs.settings.run import RunSettings

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = NextCommands(("in folder",), primary="amn.pt", fallback="gru.pt", bank="bank", budget=0.2)
LIMITS = Limits(max_fallback_rate=0.2)
LOSS, NOISE = Gain(-0.44, 100, 0.1), Gain(-0.02, 100, 0.1)


def totals(*, routes: tuple[int, int] = (90, 10), **changes: Any) -> Totals:  # noqa: ANN401 - of any field
    """The figures of 100 rows with targets, by default all ok and a tenth of them escalated."""
    amn, gru = routes
    record = record_of(
        output="a",
        rows_in=100,
        rows_out=100,
        rows_by_route={"amn": amn, "gru": gru},
        rows_by_status={"ok": 100},
    )
    found = totals_of([record])
    statuses = changes.pop("statuses", {"ok": 100})
    rows = {status: statuses.get(status, 0) for status in ("ok", "short_context", "bad_input")}
    cosine = replace(found.cosine, mean=0.5, n=100)
    return replace(found, **{"rows_by_status": rows, "cosine": cosine} | changes)


def summary_of(found: Totals, selected: Selection | None = None, **changes: Any) -> Summary:  # noqa: ANN401
    """The summary of a run whose job has these figures."""
    names = dict.fromkeys(("job_id", "fingerprint", "output"), "out")
    counts = dict.fromkeys(("files", "units", "units_done", "units_computed", "rows_computed"), 1)
    lists = dict.fromkeys(("failed_units", "refused_workers", "left_out", "unreadable_files", "notices"), ())
    maps = {"criteria_not_evaluated": {}, "models": {}, "settings": {"dataset": ["in"]}}
    values: dict[str, Any] = {**names, **counts, **lists, **maps, "wall_s": 1.0, "bank": None}
    return Summary(**values | {"totals": found, "selected": selected} | changes)


def selection_of(gain: Gain) -> Selection:
    """Figures of the files in a requested time."""
    return Selection(None, None, 1, 1, 1, 100, 100, 0.1, 0.0, (), gain)


def kinds(found: Totals, limits: Limits = LIMITS) -> list[str]:
    """The kinds of the warnings about some figures."""
    return [warning.kind for warning in warnings_of(found, limits, COMMANDS)]


@given(st.lists(st.floats(-1, 1), min_size=0, max_size=40))
def test_a_loss_is_judged_by_its_standard_error(values: list[float]) -> None:
    """A mean is a loss if it lies three standard errors below zero; of few rows it cannot be told."""
    array = np.array(values)
    sums = SquareSums(len(values), float(array.sum()), len(values), float((array**2).sum()))
    gain = Gain.of(sums)
    if len(values) < MIN_ROWS:
        assert gain.is_loss is None
        return
    assert gain.error == pytest.approx(array.std(ddof=1) / len(values) ** 0.5, abs=1e-6)
    assert gain.is_loss == (array.sum() / len(values) < -ERRORS * float(gain.error or 0))


def test_a_loss_is_not_judged_without_the_squares_of_older_records() -> None:
    """Records of older versions have none, so that chance is not known."""
    assert Gain.of(SquareSums(100, -44.0)).is_loss is None


@pytest.mark.parametrize(
    ("changes", "kind", "value"),
    [
        ({"escalation_gain": LOSS}, "fallback_loss", -0.44),
        ({"context_gain": LOSS}, "worse_than_context", -0.44),
        ({"fallback_rate": 0.21}, "fallback_rate", 0.21),
        ({"statuses": {"ok": 10, "short_context": 60, "bad_input": 30}}, "no_prediction", 0.9),
        ({"cosine": replace(totals().cosine, n=10)}, "few_targets", 0.1),
        (
            {"cosine": replace(totals().cosine, n=0), "statuses": {"ok": 99, "short_context": 1}},
            "few_targets",
            0.0,
        ),
    ],
    ids=str,
)
def test_results_that_are_bad_are_said_to_be(changes: dict[str, Any], kind: str, value: float) -> None:
    """Each gives one warning, with its figure, in one line, and with something to do."""
    (warning,) = warnings_of(totals(**changes), LIMITS, COMMANDS)
    assert (warning.kind, warning.value) == (kind, pytest.approx(value))
    assert f"{value:+.4f}" in warning.message or f"{value:.1%}" in warning.message
    assert warning.hint
    assert "\n" not in warning.message + warning.hint


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"escalation_gain": NOISE},
        {"context_gain": NOISE},
        {"escalation_gain": Gain(-0.44, MIN_ROWS - 1, 0.0)},
        {"escalation_gain": Gain(0.44, 100, 0.1)},
        {"fallback_rate": 0.2},
        {"statuses": {"ok": 11, "bad_input": 89}},
        {"cosine": replace(totals().cosine, n=11)},
        {"cosine": replace(totals().cosine, n=0)},  # the input has no targets, which the start has said
    ],
    ids=str,
)
def test_what_may_be_chance_or_is_an_exception_gives_no_warning(changes: dict[str, Any]) -> None:
    """A warning is for what is beyond chance, a limit, or almost all rows."""
    assert not kinds(totals(**changes))


def test_no_rows_give_no_warning() -> None:
    """A job of no rows has nothing to judge."""
    assert not kinds(totals_of([]))


def test_a_gate_that_could_not_be_judged_is_said() -> None:
    """Without a fallback or without targets there is no loss to hold against --max-fallback-loss."""
    limits = replace(LIMITS, max_fallback_loss=0.1)
    assert kinds(totals(), limits) == ["gate_not_judged"]
    assert not kinds(totals(escalation_gain=NOISE), limits)


@pytest.mark.parametrize(
    ("policy", "part"),
    [("warn", "--fallback-policy cap"), ("cap", "--high-stakes-lane")],
)
def test_the_hint_for_too_many_escalations_follows_from_the_policy(policy: str, part: str) -> None:
    """A cap may be exceeded by high-stakes rows only; under ``fail`` there is a gate in place of the warning."""
    many = totals(fallback_rate=0.5)
    (warning,) = warnings_of(many, replace(LIMITS, fallback_policy=policy), COMMANDS)
    assert part in warning.hint
    assert not kinds(many, replace(LIMITS, fallback_policy="fail"))


def options_of(command: str) -> tuple[list[str], dict[str, list[str]]]:
    """Parse a command line as a shell and an option parser would: its words, and its options with their values."""
    program, name, *rest = shlex.split(command)
    words, options = [program, name], {}
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            words.append(word)
        elif word == "--calibrate":
            options[word] = []
        else:
            options.setdefault(word, []).append(rest.pop(0))
    return words, options


def test_the_next_command_has_the_paths_of_the_job() -> None:
    """It is quoted for a shell, and names the dataset, models, bank, budget and the columns that were given."""
    settings = RunSettings(
        dataset=("in folder", "b"), layout="windows", lane_column="my lane", max_fallback_rate=0.1
    )
    commands = NextCommands.of(settings.as_dict(), primary="a.pt", fallback="g 1.pt", bank="bank")
    words, options = options_of(commands.calibrate)
    assert words == ["lvm-batch", "evaluate", "in folder", "b"]
    assert options == {
        "--layout": ["windows"],
        "--lane-column": ["my lane"],
        "--model": ["a.pt"],
        "--fallback": ["g 1.pt"],
        "--bank": ["bank"],
        "--calibrate": [],
        "--budget": ["0.1"],
    }
    names = {name[2:].replace("-", "_") for name in options} - {"calibrate"}
    assert names <= set(EvaluateSettings.model_fields)


def test_without_a_bank_the_next_command_compares_the_models() -> None:
    """Thresholds are measured against a bank; without one both models are evaluated."""
    words, options = options_of(replace(COMMANDS, bank=None).calibrate)
    assert (words[1], options) == ("evaluate", {"--model": ["amn.pt", "gru.pt"]})


def test_commands_of_a_summary_and_of_a_job_are_the_same() -> None:
    """A report reads the one, ``status`` the other."""
    settings = RunSettings(dataset=("in",)).as_dict()
    models = {"amn": UsedModel("a", "1"), "gru": UsedModel("g", "2")}
    refs = {"primary": {"path": "a"}, "fallback": {"path": "g"}, "bank": {"path": "b"}, "threads": None}
    identity = {"format": FORMAT, "inputs": {}}
    job = job_of({"settings": settings, "models": refs, "identity": identity, "fingerprint": "f"})
    after = NextCommands.after(summary_of(totals(), settings=settings, models=models, bank="b"))
    assert after == NextCommands.of_job(job)
    assert NextCommands.of_job(replace(job, settings={}, models={})).calibrate  # documents that say nothing


def test_the_fallback_is_judged_on_the_selected_files_too() -> None:
    """A bad night is not hidden by many good ones, and is not said twice."""
    night = selection_of(LOSS)
    found = warnings_of_run(summary_of(totals(), night), LIMITS)
    assert [warning.kind for warning in found] == ["fallback_loss"]
    found = warnings_of_run(summary_of(totals(escalation_gain=LOSS), night), LIMITS)
    assert [warning.kind for warning in found] == ["fallback_loss"]
    assert not warnings_of_run(summary_of(totals(), selection_of(NO_GAIN)), LIMITS)


def test_parts_that_no_run_of_this_selection_makes_are_a_warning() -> None:
    """Other times are missing; units that failed have an error of their own."""
    (warning,) = warnings_of_run(summary_of(totals(), units=3), LIMITS)
    assert (warning.kind, warning.value) == ("missing_parts", 2)


@pytest.mark.parametrize("limit", [0.0, 0.43])
@pytest.mark.parametrize("is_tonight", [False, True])
def test_a_loss_beyond_the_limit_fails_the_gate(limit: float, is_tonight: bool) -> None:  # noqa: FBT001
    """--max-fallback-loss is checked on tonight's rows and on all, as the other gates are."""
    summary = (
        summary_of(totals(), selection_of(LOSS)) if is_tonight else summary_of(totals(escalation_gain=LOSS))
    )
    error = verdict(summary, replace(LIMITS, max_fallback_loss=limit))
    assert isinstance(error, GateFailed)
    assert (
        f"worse by 0.4400 in the mean cosine of 100 rows, more than --max-fallback-loss {limit:g}"
        in error.args[0]
    )


@pytest.mark.parametrize("gain", [LOSS, NOISE, NO_GAIN, Gain(0.5, 100, 0.1)])
def test_without_the_option_or_below_its_limit_no_loss_fails_a_job(gain: Gain) -> None:
    """A warning changes no exit code; a limit that is reached is not exceeded."""
    summary = summary_of(totals(escalation_gain=gain))
    assert verdict(summary, LIMITS) is None
    assert verdict(summary, replace(LIMITS, max_fallback_loss=0.44)) is None


def test_the_gate_is_no_part_of_the_fingerprint() -> None:
    """The same job can be checked again with another limit."""
    assert effect_of(RunSettings, "max_fallback_loss") is NO_EFFECT
    assert RunSettings().max_fallback_loss is None


@pytest.mark.parametrize(
    ("gain", "end"),
    [
        (LOSS, "escalated rows: the fallback makes them worse"),
        (NOISE, "escalated rows"),
        (Gain(-0.1, 1), "1 escalated row, too few to say whether the fallback helps"),
    ],
)
def test_the_line_of_the_gain_says_what_it_means(gain: Gain, end: str) -> None:
    """A loss is called one, and so are rows that are too few."""
    assert totals_lines(totals(escalation_gain=gain))["gru - amn"].endswith(end)


WARNING = RunWarning("fallback_loss", "it is worse", "do this", -0.5)


def test_a_summary_keeps_its_warnings_and_older_ones_have_none() -> None:
    """``summary.json`` has a list of kind, message, hint and value."""
    summary = summary_of(totals(), selection_of(LOSS), warnings=(WARNING,))
    values = summary.to_json()
    assert list(values["warnings"]) == [WARNING.as_dict]
    assert Summary.from_json(values) == summary
    older = {name: value for name, value in values.items() if name not in {"warnings", "selected"}}
    older["escalation_gain"] = {"mean": -0.5, "n": 9}
    read = Summary.from_json(older | {"selected": None})
    assert (read.warnings, read.totals.escalation_gain) == ((), Gain(-0.5, 9))


@pytest.mark.parametrize("as_json", [False, True])
def test_warnings_come_after_the_result_and_before_the_error(
    as_json: bool,  # noqa: FBT001
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The last lines of a terminal show them; stdout has the result alone."""
    error = None if as_json else UsageError("it failed", "mend it")
    Console(json=as_json).result({"rows": 1}, "rows 1", warnings=[WARNING.as_dict], error=error)
    out, err = capsys.readouterr()
    assert out.rstrip() == ('{"rows": 1}' if as_json else "rows 1")
    assert err.startswith("warning: it is worse\n  what to do: do this\n")
    assert err.endswith("what to do: mend it\n") != as_json


def test_a_log_of_json_has_a_record_of_each_warning(capsys: pytest.CaptureFixture[str]) -> None:
    """It has the level, the kind and the figure."""
    Console(log_format="json").result({}, "", warnings=[WARNING.as_dict])
    record = json.loads(capsys.readouterr().err)
    assert {name: record[name] for name in ("level", "kind", "message", "hint", "value")} == {
        "level": "warning",
        **WARNING.as_dict,
    }


def test_metrics_have_a_gauge_of_each_kind() -> None:
    """An alert can name the kind; a run without warnings has no such gauge."""
    pytest.importorskip("prometheus_client", reason='pip install "lvm-batch[metrics]"')
    from lvm_batch.jobs.prediction.telemetry.gauges import make_gauges

    for warnings, kinds_of_gauge in (((WARNING, WARNING), ["fallback_loss"]), ((), [])):
        summary = summary_of(totals(), warnings=warnings)
        gauges = make_gauges(
            RunSettings(output="out"), summary, None, wall_s=1.0, now=2.0, before=0.0
        ).collect()
        samples = [
            sample for gauge in gauges for sample in gauge.samples if gauge.name == "lvm_batch_run_warning"
        ]
        assert [sample.labels["kind"] for sample in samples] == kinds_of_gauge


def test_status_shows_the_warnings_so_far(tmp_path: Path) -> None:
    """They follow from the records and the limits of the last run that came to its end."""
    folder = write_output(str(tmp_path / "out"), {"a-00000.parquet": {"key": [1, 2, 3]}})
    path = tmp_path / "out/_lvm_batch/done/a-00000.parquet.json"
    loss = {"escalation_gain": {"n": 50, "sum": -25.0, "n_squares": 50, "squares": 13.0}}
    path.write_text(json.dumps(json.loads(path.read_text()) | loss))
    values, text = status(folder.text)
    assert [warning["kind"] for warning in values["warnings"]] == ["fallback_loss"]
    assert "warning 1 the fallback makes escalated rows worse: gru - amn is -0.5000" in text
