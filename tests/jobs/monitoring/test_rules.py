"""The rules of monitor: their files, and each rule on histories with a known answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support.past_runs import NOW, make_row_sample, make_run_entry

from lvm_batch.io.history.run_entry import Figure, RunEntry
from lvm_batch.jobs.errors import SettingsError
from lvm_batch.jobs.monitoring.rule_checks import evaluate_rules
from lvm_batch.jobs.monitoring.rule_figures import interval, pooled
from lvm_batch.jobs.monitoring.rule_files import load_rules, rules_text
from lvm_batch.jobs.monitoring.rules import RULES, Rules
from lvm_batch.jobs.monitoring.window import parse_since, window_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lvm_batch.jobs.monitoring.findings import Finding

DAY = 24.0


def finding_of(rule: str, *runs: RunEntry, rules: Rules | None = None) -> Finding:
    """A rule's finding for the last 24 hours."""
    window, _ = window_of(runs, since=NOW - timedelta(hours=DAY), now=NOW)
    return {finding.rule: finding for finding in evaluate_rules(rules or Rules(), window)}[rule]


def ood(cosine: float, n: int = 1000, **more: Any) -> RunEntry:  # noqa: ANN401 - of any field
    """A run with as many rows out of distribution as in distribution; the latter have the cosine 0.70."""
    return make_run_entry(cosine_ood=Figure(cosine, n), cosine_in_dist=Figure(0.70, n), **more)


def queried(
    mean_ms: float | None,
    *,
    p95_ms: float = 1.0,
    processor: str | None = "x",
    **more: Any,  # noqa: ANN401 - of any field
) -> RunEntry:
    """A run before which single queries were timed on a processor."""
    return make_run_entry(query_mean_ms=mean_ms, query_p95_ms=p95_ms, query_processor=processor, **more)


def test_a_slow_machine_is_judged_by_its_own_first_queries() -> None:
    """The cards' limit counts where the first p95 on the processor is below half of it, else twice that first one."""
    first = queried(2.0, p95_ms=1.4, hours_ago=300)
    assert finding_of("query_p95", first, queried(2.0, p95_ms=2.7)).state == "quiet"
    fired = finding_of("query_p95", first, queried(2.0, p95_ms=2.9))
    assert (fired.state, fired.threshold) == ("fired", pytest.approx(2.8))
    assert "2 times the first on this processor" in fired.text
    assert finding_of("query_p95", first, queried(2.0, p95_ms=2.7, processor="y")).state == "quiet"
    assert finding_of("query_p95", first, queried(2.0, p95_ms=2.7, processor=None)).state == "fired"
    quick = queried(0.2, p95_ms=0.3, hours_ago=300)
    assert finding_of("query_p95", quick, queried(0.2, p95_ms=1.4)).state == "quiet"
    assert finding_of("query_p95", quick, queried(0.2, p95_ms=1.6)).state == "fired"


def test_a_rate_above_the_cards_target_is_no_alert() -> None:
    """Half the first rate on the processor is the limit, but at most 1,500; another model is no first."""
    quick = queried(0.2, hours_ago=30)
    assert finding_of("query_rate", quick, queried(0.6)).state == "quiet"
    assert finding_of("query_rate", quick, queried(0.7)).state == "fired"
    other = replace(quick, primary=replace(quick.primary, architecture="amn-mixer"))
    assert finding_of("query_rate", other, queried(0.7)).state == "quiet"
    assert finding_of("query_rate", quick, queried(None)).state == "not_evaluated"


def sampled(**tonight: Any) -> list[RunEntry]:  # noqa: ANN401 - of any option of a sample
    """Seven nights of the same kind, and tonight."""
    before = [make_run_entry(hours_ago=24 * n + 30, row_sample=make_row_sample(n)) for n in range(7)]
    return [*before, make_run_entry(row_sample=make_row_sample(99, **tonight))]


def test_pooled_figures_are_those_of_all_rows_together() -> None:
    """Pooled runs have the mean and deviation of one run over all the rows."""
    rng = np.random.default_rng(0)
    parts = [rng.normal(mean, 0.1, n) for mean, n in ((0.5, 40), (0.7, 3), (0.1, 1), (0.6, 200))]
    figures = [Figure(float(x.mean()), len(x), float(x.std(ddof=1)) if len(x) > 1 else None) for x in parts]
    together, whole = pooled([*figures, None, Figure(None, 0)]), np.concatenate(parts)
    assert (together.mean, together.std) == pytest.approx((whole.mean(), whole.std(ddof=1)))
    assert together.n == len(whole)


def test_a_deviation_that_one_part_lacks_is_lacked_by_all() -> None:
    """The mean is reported all the same."""
    assert pooled([Figure(0.2, 10, 0.1), Figure(0.4, 10)]) == Figure(pytest.approx(0.3), 20)


def test_the_interval_is_the_normal_one() -> None:
    """95 % of a standard deviation of 0.1 over 100 rows is 1.96 hundredths on either side."""
    assert interval(Figure(0.05, 100, 0.1), 0.95) == pytest.approx((0.05 - 0.0196, 0.05 + 0.0196), abs=1e-4)


FIRES: dict[str, tuple[Sequence[RunEntry], float]] = {
    "ood_cosine": ([ood(0.59)], 0.59),
    "ood_delta": ([ood(0.65, hours_ago=30), ood(0.61)], -0.04),
    "fallback_rate": ([make_run_entry(rows_by_route={"amn": 790, "gru": 210}, fallback_rate=0.21)], 0.21),
    "query_p95": ([make_run_entry(query_p95_ms=1.0), make_run_entry(query_p95_ms=1.51)], 1.51),
    "query_rate": ([queried(2.0, hours_ago=30, processor="x"), queried(4.1, processor="x")], 1000 / 4.1),
    "query_memory": ([make_run_entry(query_memory_bytes=20_100_000)], 20.1),
    "rows_per_s": (
        [
            *(make_run_entry(hours_ago=30 + n, rows_per_s=rate) for n, rate in enumerate((90, 100, 5000))),
            make_run_entry(rows_per_s=49),
        ],
        49,
    ),
    "memory": ([make_run_entry(peak_bytes=1_260, projected_bytes=1_000)], 1.26),
    "shadow_gain": ([make_run_entry(shadow_gain=Figure(0.02, 400, 0.05))], 0.02),
    "escalation_gain": ([make_run_entry(escalation_gain=Figure(-0.02, 400, 0.05))], -0.02),
    "input_norm": (
        [
            make_run_entry(hours_ago=30, input_norm=Figure(1.0, 9, 0.1)),
            make_run_entry(input_norm=Figure(0.94, 9, 0.1)),
        ],
        -0.06,
    ),
    "input_centroid": (
        [
            make_run_entry(hours_ago=30, input_norm=Figure(1.0, 9, 0.1), input_centroid=(1.0, 0.0)),
            make_run_entry(input_norm=Figure(1.0, 9, 0.1), input_centroid=(1.0, 1.0)),
        ],
        0.7071,
    ),
    "seen_rows": (
        [make_run_entry(input_seen=Figure(0.1, 100)), make_run_entry(input_seen=Figure(0.7, 400))],
        0.58,
    ),
    "input_drift": (sampled(shift=6.0), 1.0),
    "prediction_drift": (sampled(shift=6.0), 1.0),
    "confidence_drift": (sampled(confidence=0.3), 1.0),
    "reason_drift": (sampled(low_confidence=1.0), 0.7943),
}

QUIET: dict[str, Sequence[RunEntry]] = {
    "ood_cosine": [ood(0.61)],
    "ood_delta": [ood(0.65, hours_ago=30), ood(0.63)],
    "fallback_rate": [make_run_entry(rows_by_route={"amn": 800, "gru": 200}, fallback_rate=0.2)],
    "query_p95": [make_run_entry(query_p95_ms=1.5)],
    "query_rate": [queried(2.0, hours_ago=30, processor="x"), queried(3.9, processor="x")],
    "query_memory": [
        queried(1.0, hours_ago=30, query_memory_bytes=16_000_000),
        queried(1.0, query_memory_bytes=23_900_000),
    ],
    "rows_per_s": [
        *(make_run_entry(hours_ago=30 + n, rows_per_s=100) for n in range(3)),
        make_run_entry(rows_per_s=51),
    ],
    "memory": [make_run_entry(peak_bytes=1_250, projected_bytes=1_000)],
    "shadow_gain": [make_run_entry(shadow_gain=Figure(0.02, 40, 0.05))],  # 0.02 ± 0.0155
    "escalation_gain": [make_run_entry(escalation_gain=Figure(-0.02, 40, 0.05))],  # -0.02 ± 0.0204
    "input_norm": [
        make_run_entry(hours_ago=30, input_norm=Figure(1.0, 9)),
        make_run_entry(input_norm=Figure(1.04, 9)),
    ],
    "input_centroid": [
        make_run_entry(hours_ago=30, input_norm=Figure(1.0, 9), input_centroid=(1.0, 0.0)),
        make_run_entry(input_norm=Figure(1.0, 9), input_centroid=(2.0, 0.1)),
    ],
    "seen_rows": [make_run_entry(input_seen=Figure(0.5, 400))],
    **dict.fromkeys(("input_drift", "prediction_drift", "confidence_drift", "reason_drift"), sampled()),
}

LACKS: dict[str, tuple[Sequence[RunEntry], str]] = {
    "ood_cosine": ([make_run_entry()], "no rows marked ood"),
    "ood_delta": ([ood(0.1)], "no run before the window"),
    "fallback_rate": (
        [make_run_entry(fallback=None, rows_by_route={"amn": 1000, "gru": 0})],
        "no run with a fallback",
    ),
    "query_p95": ([make_run_entry()], "no run recorded it"),
    "query_rate": ([queried(9.0, processor=None)], "no run recorded it together with the processor"),
    "query_memory": ([make_run_entry()], "no run recorded it"),
    "rows_per_s": (
        [make_run_entry(hours_ago=30), make_run_entry(hours_ago=31), make_run_entry(rows_per_s=1)],
        "3 runs of its shape",
    ),
    "memory": ([make_run_entry(projected_bytes=1_000)], "no run recorded it"),
    "shadow_gain": (
        [make_run_entry(shadow_gain=Figure(0.5, 29, 0.01))],
        "29 rows in the shadow evaluation, 30 are needed",
    ),
    "escalation_gain": (
        [make_run_entry(escalation_gain=Figure(-0.5, 29, 0.01))],
        "29 escalated rows with a target, 30 are needed",
    ),
    "input_norm": ([make_run_entry(input_norm=Figure(1.0, 9))], "no run before the window"),
    "input_centroid": ([make_run_entry()], "no run recorded it"),
    "seen_rows": ([make_run_entry()], "unknown"),
    "input_drift": (
        sampled(shift=6.0)[3:],
        "cannot judge yet: 4 runs with sampled rows before the window, 5",
    ),
    "prediction_drift": (
        [*sampled()[:-1], make_run_entry(row_sample=make_row_sample(9), fallback=None)],
        "0 runs of the same models with sampled rows",
    ),
    "confidence_drift": (
        [*sampled()[:-1], make_run_entry(row_sample=make_row_sample(9), bank="other")],
        "0 runs of the same models and bank",
    ),
    "reason_drift": (sampled(n_articles=4), "80 sampled rows of 4 articles are too few"),
}


def test_every_rule_has_known_answers() -> None:
    """Every rule is tested here."""
    assert set(FIRES) == set(QUIET) == set(LACKS) == set(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_fires_beyond_its_threshold(rule: str) -> None:
    """The figure is the constructed one, and the report is that of the run that differs most."""
    runs, figure = FIRES[rule]
    runs = [*runs[:-1], replace(runs[-1], report="s3://out/_lvm_batch/report.html")]
    finding = finding_of(rule, *runs)
    assert (finding.state, finding.report) == ("fired", "s3://out/_lvm_batch/report.html")
    assert finding.figure == pytest.approx(figure, abs=1e-4)
    assert finding.rows > 0
    assert finding.threshold is not None


@pytest.mark.parametrize("rule", ["query_p95", "rows_per_s", "memory"])
def test_a_finding_counts_all_rows_and_runs_that_it_judged(rule: str) -> None:
    """A rule over single runs counts all of them, not only the one that differs most."""
    measured = {"query_p95_ms": 1.0, "rows_per_s": 100.0, "peak_bytes": 1000, "projected_bytes": 1000}
    before = [make_run_entry(hours_ago=30 + n, minutes=1, **measured) for n in range(3)]
    finding = finding_of(
        rule, *before, make_run_entry(rows_in=900, **measured), make_run_entry(rows_in=1100, **measured)
    )
    assert (finding.runs, finding.rows) == (2, 2000)


@pytest.mark.parametrize("rule", ["input_norm", "input_centroid"])
def test_a_run_weighs_as_much_in_drift_as_it_has_rows(rule: str) -> None:
    """Drift weighs runs by rows, not by the size of their samples: ten times the rows, ten times the weight."""
    usual = {"input_norm": Figure(1.0, 256), "input_centroid": (1.0, 0.0)}
    changed = {"input_norm": Figure(1.5, 4096), "input_centroid": (0.0, 1.0)}
    runs = (make_run_entry(rows_in=10_000, **usual), make_run_entry(rows_in=1000, **changed))
    finding = finding_of(rule, make_run_entry(hours_ago=30, **usual), *runs)
    expected = {"input_norm": 0.5 / 11, "input_centroid": 10 / 101**0.5}
    assert finding.figure == pytest.approx(expected[rule])
    assert finding.rows == 11_000


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_quiet_within_its_threshold(rule: str) -> None:
    """A figure at the threshold, or on its good side, is no alert."""
    assert finding_of(rule, *QUIET[rule]).state == "quiet"


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_that_lacks_data_says_so(rule: str) -> None:
    """The rule names the missing data, and that is no alert."""
    runs, why = LACKS[rule]
    finding = finding_of(rule, *runs)
    assert (finding.state, finding.figure) == ("not_evaluated", None)
    assert why in finding.text


@pytest.mark.parametrize("rule", RULES)
def test_no_run_in_the_window_is_no_alert(rule: str) -> None:
    """An alert of yesterday does not fire today, and the rule says why."""
    runs = [
        replace(run, started=run.started - timedelta(days=3), ended=run.ended - timedelta(days=3))
        for run in FIRES[rule][0]
    ]
    assert finding_of(rule, *runs).text == "no run ended in this window"


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_can_be_left_out(rule: str) -> None:
    """A disabled rule reports nothing, even without any run."""
    kept = Rules().model_copy(update={rule: type(getattr(Rules(), rule))(enabled=False)})
    for runs in ((), FIRES[rule][0]):
        window, _ = window_of(runs, since=NOW - timedelta(hours=DAY), now=NOW)
        assert [finding.rule for finding in evaluate_rules(kept, window)] == [
            name for name in RULES if name != rule
        ]


def test_rows_decide_how_much_a_run_weighs() -> None:
    """A small bad run does not outweigh a large good one; a large bad one does."""
    assert finding_of("ood_cosine", ood(0.40, n=10), ood(0.64, n=1000)).state == "quiet"
    assert finding_of("ood_cosine", ood(0.59, n=1000), ood(0.90, n=10)).figure == pytest.approx(
        0.5931, abs=1e-4
    )


def test_ood_falls_against_the_day_before_and_else_against_the_last_run() -> None:
    """A window is compared with the equally long time before it; older runs count only if that is empty."""
    old, yesterday, today = ood(0.80, hours_ago=200), ood(0.64, hours_ago=30), ood(0.62)
    assert finding_of("ood_delta", old, yesterday, today).figure == pytest.approx(-0.02)
    assert finding_of("ood_delta", ood(0.9, hours_ago=300), old, today).figure == pytest.approx(-0.18)


def test_ood_may_fall_with_in_dist() -> None:
    """Harder data lowers both means; only the difference counts."""
    today = make_run_entry(cosine_ood=Figure(0.55, 100), cosine_in_dist=Figure(0.60, 100))
    assert finding_of("ood_delta", ood(0.65, hours_ago=30), today).state == "quiet"


@pytest.mark.parametrize(
    "other", [{"shape": "another"}, {"rows_in": 2001}, {"rows_in": 499}, {"rows_per_s": None}]
)
def test_speed_is_compared_with_runs_like_it(other: dict[str, Any]) -> None:
    """Runs with other settings, or far more or fewer rows, are not compared."""
    before = [make_run_entry(hours_ago=30 + n, **other) for n in range(5)]
    assert finding_of("rows_per_s", *before, make_run_entry(rows_per_s=1)).state == "not_evaluated"


def test_speed_is_compared_with_the_last_runs() -> None:
    """Of many earlier runs, only the last ones define the usual speed."""
    before = [make_run_entry(hours_ago=100 - n, rows_per_s=1000 if n < 20 else 100) for n in range(30)]
    assert finding_of("rows_per_s", *before, make_run_entry(rows_per_s=60)).state == "quiet"


def test_a_primary_that_is_better_fires_nothing() -> None:
    """The rule fires only if the fallback is better."""
    assert finding_of("shadow_gain", make_run_entry(shadow_gain=Figure(-0.5, 400, 0.05))).state == "quiet"


def test_vectors_of_another_width_are_not_compared() -> None:
    """The centroid of other vectors cannot be compared."""
    runs = [
        make_run_entry(hours_ago=hours, input_norm=Figure(1.0, 9), input_centroid=vector)
        for hours, vector in ((30, (1.0,)), (1, (0.0, 1.0)))
    ]
    assert "several widths" in finding_of("input_centroid", *runs).text


def test_the_printed_rules_are_the_rules(tmp_path: Path) -> None:
    """What --print-rules writes gives the same rules when it is read, and names the sources of the thresholds."""
    path = tmp_path / "rules.toml"
    changed = Rules().model_copy(update={"memory": type(Rules().memory)(max_share=2.0, enabled=False)})
    for rules in (Rules(), changed):
        path.write_text(rules_text(rules))
        assert load_rules(path) == rules
    assert "min = 0.6  # fires below this; the model cards' alert" in rules_text(Rules())


def test_a_file_changes_only_what_it_names(tmp_path: Path) -> None:
    """Rules and thresholds that a file does not name keep their defaults; an integer is accepted as a number."""
    path = tmp_path / "rules.toml"
    path.write_text("[query_p95]\nmax_ms = 2\n[memory]\nenabled = false\n")
    rules = load_rules(path)
    assert (rules.query_p95.max_ms, rules.query_p95.target_ms, rules.memory.enabled) == (2.0, 1.0, False)
    assert rules.ood_cosine == Rules().ood_cosine


def test_all_problems_of_a_file_are_reported_at_once(tmp_path: Path) -> None:
    """Unknown names come with the nearest valid one, values with the accepted ones."""
    path = tmp_path / "rules.toml"
    path.write_text(
        "fallback_rates = 1\nmemory = 3\n[ood_cosine]\nmim = 0.5\nmin = 1.5\ntarget = '0.6'\n[rows_per_s]\n"
        "min_runs = 0\nmin_share = true\n[shadow_gain]\nconfidence = nan\n[zzz]\n"
    )
    with pytest.raises(SettingsError) as caught:
        load_rules(path)
    problems = {problem.message.split(" in ")[0]: problem for problem in caught.value.problems}
    assert set(problems) == {
        *("fallback_rates", "memory", "ood_cosine.mim", "ood_cosine.min", "ood_cosine.target"),
        *("rows_per_s.min_runs", "rows_per_s.min_share", "shadow_gain.confidence", "zzz"),
    }
    assert problems["fallback_rates"].hint == "did you mean fallback_rate?"
    assert problems["ood_cosine.mim"].hint == "did you mean min?"
    assert problems["ood_cosine.min"].hint == "it can be less than or equal to 1"
    assert "ood_cosine, ood_delta" in problems["zzz"].hint
    assert all(str(path) in problem.message for problem in caught.value.problems)


@pytest.mark.parametrize("content", [None, b"[ood_cosine", b"\xff\xfe", b"a = " + b"[" * 5000])
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """The error names a missing or broken file."""
    path = tmp_path / "rules.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"rules\.toml"):
        load_rules(path)


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("24h", 24),
        ("7d", 168),
        ("90m", 1.5),
        ("2w", 336),
        ("2026-11-23T06:00Z", 6),
        ("2026-11-23T06:00", 6),
        ("2026-11-22", 36),
        ("2026-11-23T06:00+02:00", 8),
    ],
)
def test_since_is_a_span_or_a_time(text: str, hours: float) -> None:
    """A time without an offset is UTC."""
    assert parse_since(text, NOW) == NOW - timedelta(hours=hours)
