"""Every setting says whether it changes the output, and a job's fingerprint is made from those that do."""

from __future__ import annotations

import pytest

from lvm_batch.jobs.settings.evaluate import EvaluateSettings
from lvm_batch.jobs.settings.fields import OUTPUT, Effect, HelpMark, Kind, effect_of
from lvm_batch.jobs.settings.run import RunSettings
from lvm_batch.jobs.settings.serve import ServeSettings
from lvm_batch.jobs.settings.train import TrainSettings

KINDS = (RunSettings, ServeSettings, TrainSettings, EvaluateSettings)
"""The settings classes of all commands."""

RELEASED = {
    "layout",
    "pad",
    "precision",
    "output_dtype",
    "rename",
    "min_confidence",
    "min_margin",
    "max_context_tokens",
    "high_stakes_lane",
    "shadow_rate",
    "context_column",
    "vector_column",
    "target_column",
    "lane_column",
    "context_tokens_column",
    "tokens_column",
    "article_column",
    "position_column",
}
"""The settings in the fingerprints that release 0.1.0 wrote."""


@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_says_once_whether_it_changes_the_output(kind: Kind) -> None:
    """A new setting without the mark fails here, before a job could continue with different values."""
    for name, field in kind.model_fields.items():
        assert [type(mark) for mark in field.metadata if isinstance(mark, Effect)] == [Effect], name
        assert [type(mark) for mark in field.metadata if isinstance(mark, HelpMark)] == [HelpMark], name


def test_the_fingerprint_takes_the_settings_that_change_the_output() -> None:
    """No other setting prevents a job from continuing: not workers, paths or observers."""
    changing = {name for name in RunSettings.model_fields if effect_of(RunSettings, name) is OUTPUT}
    assert set(RunSettings(output="OUT", workers=3).output_values()) == changing


def test_outputs_of_the_first_release_continue() -> None:
    """A newer setting at its default leaves an old fingerprint unchanged."""
    assert set(RunSettings().output_values()) == RELEASED


def test_the_column_of_splits_is_part_of_a_job() -> None:
    """The sums by split depend on it, so a job with another column is a different job."""
    assert RunSettings(split_column="part").output_values() == {
        **RunSettings().output_values(),
        "split_column": "part",
    }
