"""A run is added to the history, and monitor reports what the history shows."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.datasets import read_rows, windows, write_windows
from support.past_runs import make_run_entry

from lvm_batch.io.dataset.units import DatasetFormat
from lvm_batch.io.errors import DataError
from lvm_batch.io.history.history import FORMAT_KEY, read_history, write_run
from lvm_batch.io.history.run_entry import Figure, RunEntry
from lvm_batch.io.output.commit import OutputFolder
from lvm_batch.io.output.commit_record import CommitRecord
from lvm_batch.io.output.tally import SquareSums, Tally, add_tallies
from lvm_batch.io.output.writer import PredictionBlock
from lvm_batch.io.storage.lock_guard import LocalLockGuard
from lvm_batch.jobs.cli import main
from lvm_batch.jobs.errors import GateFailed
from lvm_batch.jobs.models.facts import ModelRef
from lvm_batch.jobs.prediction.execution.query_latency import QueryTimes, worker_query_times
from lvm_batch.jobs.prediction.execution.tally import tally_block
from lvm_batch.jobs.prediction.execution.worker import Failure
from lvm_batch.jobs.prediction.observers import RunBeginning
from lvm_batch.jobs.prediction.planning.plan import Plan, make_plan
from lvm_batch.jobs.prediction.results.events import RunSummarised
from lvm_batch.jobs.prediction.telemetry.history import History
from lvm_batch.jobs.processes.resources import processor_name
from lvm_batch.jobs.settings.run import RunSettings
from lvm_batch.lvm import load_checkpoint, save_checkpoint
from lvm_batch.lvm.checkpoints.training_vectors import TrainingVectors

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.command import Result

    from lvm_batch.jobs.prediction.results.summary import Summary

pytestmark = pytest.mark.slow

ENDED = datetime(2026, 11, 23, 12, tzinfo=UTC)
N_ROWS = 600
SPLITS = np.where(np.arange(N_ROWS) % 3 == 0, "ood", "in_dist").tolist()
SPLITS[4], SPLITS[5] = None, "other"


class Ran(NamedTuple):
    """A finished run: its settings, its plan, and its result."""

    settings: RunSettings
    plan: Plan
    summary: Summary
    folder: OutputFolder


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, models: Path, scheduler: str) -> Ran:
    """A real run over 600 windows of two files, some of them escalated, some shadowed, both splits marked."""
    folder = tmp_path_factory.mktemp("history")
    contexts, targets = (part[:N_ROWS] for part in windows())
    half = N_ROWS // 2
    for number, rows in enumerate((slice(0, half), slice(half, N_ROWS))):
        lanes = ["sci-fact" if row % 4 == 0 else "general" for row in range(half)]
        columns = {"split": pa.array(SPLITS[rows]).dictionary_encode(), "lane": lanes}
        write_windows(folder / "in" / f"{number}.parquet", contexts[rows], targets[rows], columns=columns)
    settings = RunSettings(
        dataset=(str(folder / "in"),),
        output=str(folder / "out"),
        model=str(models / "amn.pt"),
        fallback=str(models / "gru.pt"),
        shadow_rate=0.2,
        scheduler=scheduler,
        max_fallback_rate=0.5,
    )
    from lvm_batch.jobs.console.console import Console
    from lvm_batch.jobs.prediction.run import run

    outcome = run(settings, console=Console())
    assert outcome.error is None
    return Ran(settings, make_plan(settings, threads=None), outcome.summary, OutputFolder(settings.output))


def added(ran: Ran, history: object, **changes: Any) -> list[str]:  # noqa: ANN401 - of any field
    """Add a run to a history; return the note, if any."""
    notes: list[str] = []
    records = ran.folder.records()
    summary = replace(ran.summary, **changes.pop("summary", {}))
    fields = {
        "computed": list(records.values()),
        "error": None,
        "ended": ENDED,
        "workers": 2,
        "is_news": True,
    }
    observer = History(str(history), tell=notes.append)
    observer.begin(RunBeginning(ran.plan, ran.settings, ran.folder, LocalLockGuard()))
    observer.event(RunSummarised(summary, records, **fields | changes))
    return notes


def only_run(history: Path) -> RunEntry:
    """The only run of a history."""
    ((_, runs),) = read_history(str(history))
    assert not isinstance(runs, DataError)
    (run,) = runs
    return run


def mean_of(rows: list[dict[str, Any]], name: str = "cosine") -> Figure:
    """A figure's mean over rows, computed plainly."""
    values = np.array([row[name] for row in rows if row[name] is not None], np.float64)
    return Figure(pytest.approx(values.mean()), len(values))


def test_an_entry_has_the_figures_of_the_output(ran: Ran, tmp_path: Path) -> None:
    """Means, counts and deviations equal those of the rows, by split and by route."""
    assert added(ran, tmp_path, query=QueryTimes(0.5, 0.25, "x", 9_000)) == []
    run, rows = only_run(tmp_path), read_rows(Path(ran.settings.output))
    assert run.cosine == mean_of(rows)
    assert run.cosine_ood == mean_of([row for row in rows if row["split"] == "ood"])
    assert run.cosine_in_dist == mean_of([row for row in rows if row["split"] == "in_dist"])
    assert run.cosine_amn == mean_of([row for row in rows if row["route"] == "amn"])
    assert run.cosine_gru == mean_of([row for row in rows if row["route"] == "gru"])
    for figure, chosen in (
        (run.shadow_gain, [row for row in rows if row["shadow"]]),
        (run.escalation_gain, [row for row in rows if row["route"] == "gru"]),
    ):
        gains = np.array([row["gru_cosine"] - row["amn_cosine"] for row in chosen])
        assert (figure.mean, figure.std) == pytest.approx((gains.mean(), gains.std(ddof=1)), abs=1e-6)
        assert figure.n == len(gains) > 50
    assert run.rows_by_route == {"amn": 450, "gru": 150}
    assert run.rows_by_reason["high_stakes_lane"] == 150
    assert (run.rows_in, run.rows_out, run.rows_by_status["ok"], run.fallback_rate) == (600, 600, 600, 0.25)
    assert (run.query_p95_ms, run.query_mean_ms, run.query_processor) == (0.5, 0.25, "x")
    assert run.query_memory_bytes == 9_000


def test_an_entry_has_the_share_of_rows_that_the_model_was_trained_on(ran: Ran, tmp_path: Path) -> None:
    """The digest in the checkpoint tells it; without one, or where the file is another one now, it is unknown."""
    contexts, targets = (part[: N_ROWS // 2] for part in windows())
    trained_on = np.concatenate([contexts.reshape(-1, contexts.shape[2]), targets])
    model = load_checkpoint(Path(ran.settings.model or "").read_bytes(), "amn.pt").model
    facts: dict[str, Any] = {"architecture": "amn", "epoch": 1, "val_loss": None, "val_cosine": None}
    path = tmp_path / "amn.pt"
    save_checkpoint(path, model, **facts, training_vectors=TrainingVectors.of(trained_on))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for sha256, expected in ((digest, 0.5), ("0" * 64, None)):
        models = replace(ran.plan.job.models, primary=ModelRef(str(path), sha256, "amn"))
        again = ran._replace(plan=replace(ran.plan, job=replace(ran.plan.job, models=models)))
        assert added(again, tmp_path / sha256[:6]) == []
        seen = only_run(tmp_path / sha256[:6]).input_seen
        assert (seen and seen.mean) == (expected and pytest.approx(expected, abs=0.06))
    assert added(ran, tmp_path / "none") == []
    assert only_run(tmp_path / "none").input_seen is None


def test_an_entry_identifies_its_run(ran: Ran, tmp_path: Path) -> None:
    """An entry holds the job, models with digests, thresholds, paths, times and durations."""
    added(ran, tmp_path)
    run, job = only_run(tmp_path), ran.plan.job
    assert (run.job_id, run.fingerprint, run.state) == (job.job_id, job.fingerprint, "done")
    assert (run.primary.sha256, run.primary.architecture) == (job.models.primary.sha256, "amn")
    assert run.fallback is not None
    assert run.fallback.architecture == "gru"
    assert run.thresholds.min_confidence == 0.70
    assert run.report == f"{ran.settings.output}/_lvm_batch/report.html"
    assert (run.ended, run.ended - run.started) == (ENDED, timedelta(seconds=ran.summary.wall_s))
    assert run.rows_per_s == pytest.approx(600 / ran.summary.wall_s)
    assert (run.workers, run.units, run.failed_units) == (2, 2, 0)
    assert run.projected_bytes == ran.plan.memory.peak
    assert run.peak_bytes is not None
    assert run.peak_bytes > 50 * 2**20


def test_an_entry_has_a_sample_of_the_input(ran: Ran, tmp_path: Path) -> None:
    """Norms and the mean vector come from the first contexts of each unit, as the files hold them."""
    added(ran, tmp_path)
    run, contexts = only_run(tmp_path), windows()[0][:N_ROWS, -1]
    sampled = np.concatenate([contexts[:256], contexts[300:556]]).astype(np.float64)
    assert run.input_norm is not None
    assert run.input_norm.n == 512
    assert run.input_norm.mean == pytest.approx(np.linalg.norm(sampled, axis=1).mean())
    assert run.input_centroid == pytest.approx(tuple(sampled.mean(axis=0)))


def test_a_resumed_run_counts_only_what_it_computed(ran: Ran, tmp_path: Path) -> None:
    """Units that were done before are counted in an earlier entry."""
    records = list(ran.folder.records().values())
    added(ran, tmp_path, computed=records[:1])
    run = only_run(tmp_path)
    assert (run.units, run.rows_in, run.cosine.n) == (1, 300, 300)
    assert sum(run.rows_by_route.values()) == 300


def test_a_run_that_did_nothing_adds_nothing(ran: Ran, tmp_path: Path) -> None:
    """A rerun of a finished job adds no entry."""
    assert added(ran, tmp_path / "history", computed=[]) == []
    assert not (tmp_path / "history").exists()


def test_a_failed_run_has_an_entry(ran: Ran, tmp_path: Path) -> None:
    """A failed gate is the run's state; a run whose every unit failed has an entry without figures."""
    added(ran, tmp_path / "gate", error=GateFailed("too many"))
    assert only_run(tmp_path / "gate").state == "gate"
    added(ran, tmp_path / "units", computed=[], summary={"failed_units": (Failure("a", "os", "disk full"),)})
    run = only_run(tmp_path / "units")
    assert (run.failed_units, run.rows_in, run.rows_per_s, run.fallback_rate) == (1, 0, None, None)
    assert (run.cosine, run.input_norm) == (Figure(None, 0), None)


def test_no_credential_enters_a_history(ran: Ran, tmp_path: Path) -> None:
    """Addresses are stored without user names, passwords and queries."""
    settings = ran.settings.model_copy(update={"dataset": ("s3://key:geheim@bucket/in?token=geheim",)})
    added(ran._replace(settings=settings), tmp_path, summary={"output": "s3://key:geheim@bucket/out"})
    run = only_run(tmp_path)
    assert "geheim" not in repr(run)
    assert run.dataset == ("s3://***@bucket/in?***",)


@pytest.mark.parametrize("history", ["file/below", "gopher://a/b", "s3://key:geheim@bucket/a"])
def test_a_history_that_cannot_be_written_is_a_note(ran: Ran, tmp_path: Path, history: str) -> None:
    """Nothing is raised: one line says what failed and why, without a secret."""
    (tmp_path / "file").write_text("")
    (note,) = added(ran, history if "://" in history else tmp_path / history)
    assert note.startswith("the run was not added to the history")
    assert "geheim" not in note


def test_a_missing_input_costs_only_the_sample(ran: Ran, tmp_path: Path) -> None:
    """The entry is written without the sample, and a note says so."""
    unit = ran.plan.units[0]
    gone = type(unit.file)(
        **{name: getattr(unit.file, name) for name in unit.file.__slots__} | {"path": "/gone"}
    )
    units = (replace(unit, file=gone), *ran.plan.units[1:])
    (note,) = added(ran._replace(plan=replace(ran.plan, units=units)), tmp_path)
    assert "no sample of the input" in note
    assert (only_run(tmp_path).rows_in, only_run(tmp_path).input_norm) == (600, None)


def test_records_of_older_versions_are_read(ran: Ran, tmp_path: Path) -> None:
    """A record without sums by split, squares and memory lacks those figures and keeps the others."""
    first, second = ran.folder.records().values()
    later = {"cosine_by_split", "cosine_by_route", "worker_peak"}
    values = {name: value for name, value in first.to_json().items() if name not in later}
    values["shadow_gain"] = {name: values["shadow_gain"][name] for name in ("n", "sum")}
    old = CommitRecord.from_json(values)
    added(ran, tmp_path, computed=[old, second])
    run = only_run(tmp_path)
    assert (run.cosine.n, run.cosine_ood.n, run.shadow_gain.std) == (600, 100, None)
    assert run.shadow_gain.n > 0
    from lvm_batch.jobs.prediction.results.totals import Mean, totals_of

    assert totals_of([old]).cosine_by_split["ood"] == Mean(None, 0)


@pytest.mark.parametrize(
    "values", [pa.array(["ood", None, "in_dist", "ood"], pa.large_string()), pa.array([1, 2, 3, 4])]
)
def test_a_renamed_split_counts_and_one_that_is_no_text_does_not(values: pa.Array) -> None:
    """The split is found under the name that it has in the output; a split that is not text is ignored."""
    column = DatasetFormat(rename={"split": "part", "part": "old"}).carried_split
    nothing = np.full(4, np.nan, np.float32)
    cosines = np.array([0.1, 0.2, 0.4, np.nan], np.float32)
    block = PredictionBlock(
        carried=pa.table({column: values}),
        prediction=np.zeros((4, 2), np.float32),
        cosine=cosines,
        route=np.zeros(4, np.int8),
        reasons=np.zeros((4, 4), np.bool_),
        confidence=nothing,
        margin=nothing,
        amn_cosine=cosines,
        gru_cosine=nothing,
        shadow=np.zeros(4, np.bool_),
        status=np.zeros(4, np.int8),
        details={},
    )
    sums = tally_block(block, 0, split_column=column).cosine_by_split
    assert column == "part"
    assert {name: part.n for name, part in sums.items()} == (
        {} if pa.types.is_integer(values.type) else {"in_dist": 1, "ood": 1}
    )


def test_deviations_add_up() -> None:
    """Sums over parts give the deviation of the whole; one value has none."""
    values = np.random.default_rng(1).normal(0.01, 0.05, 100)
    sums = [
        SquareSums(len(part), part.sum(), len(part), (part**2).sum()) for part in np.split(values, [1, 1, 40])
    ]
    total = add_tallies(Tally(0, shadow_gain=part) for part in sums).shadow_gain
    assert total.deviation == pytest.approx(values.std(ddof=1))
    assert sums[0].deviation is None


def test_the_history_is_not_part_of_the_job(ran: Ran) -> None:
    """Another --history, or none, leaves the job's fingerprint unchanged."""
    settings = ran.settings.model_copy(update={"history": "elsewhere"})
    assert make_plan(settings, threads=None).job.fingerprint == ran.plan.job.fingerprint


def test_the_time_of_a_query_is_measured_on_workers(ran: Ran, scheduler: str) -> None:
    """The slowest worker's p95 counts; a missing model costs only this figure, and a note says so."""
    from distributed import Client

    notes: list[str] = []
    with Client(scheduler, set_as_default=False) as client:
        times = worker_query_times(client, ran.plan.job, tell=notes.append)
        assert notes == []
        job = ran.plan.job
        gone = replace(job, models=replace(job.models, primary=replace(job.models.primary, path="/gone.pt")))
        assert worker_query_times(client, gone, tell=notes.append) is None
    assert times is not None
    assert min(times.p95_ms, times.mean_ms) > 0.01
    assert times.processor == processor_name() != ""
    assert "/gone.pt" in notes[0]


def history_of(folder: Path, *runs: RunEntry) -> str:
    """A history of recent runs."""
    for run in runs:
        write_run(str(folder), run)
    return str(folder)


def recent(hours_ago: float = 1, **figures: Any) -> RunEntry:  # noqa: ANN401 - of any field
    """A run that ended ``hours_ago`` hours ago."""
    ended = datetime.now(UTC) - timedelta(hours=hours_ago)
    return make_run_entry(**{"started": ended - timedelta(minutes=5), "ended": ended} | figures)


def test_a_quiet_history_is_exit_0(tmp_path: Path, lvm_batch: Callable[..., Result]) -> None:
    """No rule fires, and each reports its figure."""
    result = lvm_batch("monitor", "--history", history_of(tmp_path, recent()))
    assert result.code == 0
    assert (result.values["runs"], result.values["rows"], result.values["alerts"]) == (1, 1000, 0)
    states = {rule["rule"]: rule["state"] for rule in result.values["rules"]}
    assert (states["fallback_rate"], states["ood_cosine"]) == ("quiet", "not_evaluated")
    assert "error" not in result.values


def test_an_alert_is_exit_3(tmp_path: Path, lvm_batch: Callable[..., Result]) -> None:
    """An alert has rule, figure, threshold, window and report; the error names every rule that fires."""
    bad = recent(
        cosine_ood=Figure(0.5, 100),
        rows_by_route={"amn": 1, "gru": 1},
        fallback_rate=0.5,
        report="s3://out/_lvm_batch/report.html",
    )
    result = lvm_batch("monitor", "--history", history_of(tmp_path, bad))
    assert result.code == 3
    assert result.values["error"]["kind"] == "gate"
    assert result.values["error"]["message"] == "2 rules fire: ood_cosine, fallback_rate"
    (alert,) = [rule for rule in result.values["rules"] if rule["rule"] == "ood_cosine"]
    assert (alert["state"], alert["figure"], alert["threshold"]) == ("fired", 0.5, 0.6)
    assert alert["report"] == "s3://out/_lvm_batch/report.html"
    assert set(alert["window"]) == {"since", "until"}


def test_the_text_is_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Stdout has a line for each rule, and the report under an alert; the error goes to stderr."""
    code = main(["monitor", "--history", history_of(tmp_path, recent(cosine_ood=Figure(0.5, 100)))])
    captured = capsys.readouterr()
    assert code == 3
    lines = captured.out.splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.startswith("ood_cosine")]
    assert lines[at].split()[:2] == ["ood_cosine", "ALERT"]
    assert "0.5000, alert below 0.6" in lines[at]
    assert lines[at + 1].strip() == "/out/a/_lvm_batch/report.html"
    assert "not evaluated: no run" in captured.out
    assert "1 rule fires: ood_cosine" in captured.err


def test_since_chooses_the_runs(tmp_path: Path, lvm_batch: Callable[..., Result]) -> None:
    """A run belongs to the window in which it ends."""
    history = history_of(tmp_path, recent(hours_ago=30, cosine_ood=Figure(0.5, 10)), recent())
    assert lvm_batch("monitor", "--history", history).code == 0
    result = lvm_batch("monitor", "--history", history, "--since", "2d")
    assert (result.code, result.values["runs"]) == (3, 2)


@pytest.mark.parametrize("since", ["yesterday", "24", "-1h", "0h", "2999-01-01", "999999w", ""])
def test_a_since_that_is_none_is_exit_2(tmp_path: Path, lvm_batch: Callable[..., Result], since: str) -> None:
    """A value that is no time, or not in the past, is refused with the accepted forms."""
    result = lvm_batch("monitor", "--history", history_of(tmp_path, recent()), f"--since={since}")
    assert (result.code, result.values["error"]["kind"]) == (2, "usage")


def test_clocks_that_go_backwards_are_left_out(tmp_path: Path, lvm_batch: Callable[..., Result]) -> None:
    """A run that ends before it starts, or in the future, is reported and left out; a few minutes are tolerated."""
    now = datetime.now(UTC)
    low = {"cosine_ood": Figure(0.1, 100)}
    backwards = recent(started=now, job_id="backwards", **low)
    future = recent(hours_ago=-2, job_id="future", **low)
    skewed = recent(hours_ago=-0.02, job_id="skewed", cosine_ood=Figure(0.65, 100))
    result = lvm_batch("monitor", "--history", history_of(tmp_path, backwards, future, skewed))
    assert (result.code, result.values["runs"]) == (0, 1)
    assert [text.split()[4] for text in result.values["left_out"]] == ["backwards", "future"]
    assert "before it starts" in result.values["left_out"][0]
    assert "in the future" in result.values["left_out"][1]


def test_rules_come_from_a_file(tmp_path: Path, lvm_batch: Callable[..., Result]) -> None:
    """--rules sets thresholds, and a file with mistakes is refused before anything is read."""
    rules = tmp_path / "rules.toml"
    rules.write_text("[fallback_rate]\nmax = 0.05\n")
    history = history_of(tmp_path / "history", recent())
    assert lvm_batch("monitor", "--history", history, "--rules", rules).code == 3
    rules.write_text("[fallback]\nmax = 5\n[memory]\nmax_share = -1\n")
    result = lvm_batch("monitor", "--history", history, "--rules", rules)
    assert (result.code, result.values["error"]["kind"]) == (2, "settings")
    assert result.values["error"]["n_problems"] == 2


def test_rules_are_printed_without_a_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--print-rules writes a file that --rules accepts."""
    assert main(["monitor", "--print-rules"]) == 0
    (tmp_path / "rules.toml").write_text(capsys.readouterr().out)
    assert main(["monitor", "--print-rules", "--rules", str(tmp_path / "rules.toml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ood_cosine"]["min"] == 0.6


def test_the_history_can_come_from_the_environment(
    tmp_path: Path, lvm_batch: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run and monitor share LVM_BATCH_HISTORY; without it and the option, monitor says what to give."""
    result = lvm_batch("monitor")
    assert (result.code, result.values["error"]["message"]) == (2, "no history is given")
    monkeypatch.setenv("LVM_BATCH_HISTORY", history_of(tmp_path, recent()))
    assert lvm_batch("monitor").code == 0


def test_a_history_that_cannot_be_read_is_exit_2(tmp_path: Path, lvm_batch: Callable[..., Result]) -> None:
    """A missing, damaged or newer history is refused, every file by name, and no rule is evaluated."""
    assert lvm_batch("monitor", "--history", tmp_path / "none").code == 2
    history = history_of(
        tmp_path, recent(cosine_ood=Figure(0.1, 9)), recent(hours_ago=2), recent(hours_ago=3)
    )
    damaged, newer, _ = sorted(tmp_path.rglob("*.parquet"))
    damaged.write_bytes(b"PAR1")
    pq.write_table(pq.ParquetFile(newer).read().replace_schema_metadata({FORMAT_KEY: "2"}), newer)
    result = lvm_batch("monitor", "--history", history)
    assert (result.code, "rules" in result.values) == (2, False)
    text = json.dumps(result.values)
    assert damaged.name in text
    assert newer.name in text
    assert "newer version" in text
