"""`lvm-batch config` shows the effective settings, in a form that can be used again."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING

from pydantic import ByteSize

from lvm_batch.jobs.cli import main
from lvm_batch.jobs.settings.fields import schema
from lvm_batch.jobs.settings.run import SETTINGS, RunSettings
from lvm_batch.jobs.settings.sources import resolve_settings

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

GIVEN = [
    "data/[a]",
    "b",
    "--output",
    'say "ß"\\',
    "--rename",
    "route=old",
    "--unit-size",
    "1MiB",
    "--workers",
    "3",
]


def test_show_prints_a_file_that_config_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The output of `config show`, given as --config, gives the same settings."""
    assert main(["config", "show", *GIVEN]) == 0
    file = tmp_path / "job.toml"
    file.write_text(capsys.readouterr().out, encoding="utf-8")
    again = resolve_settings(RunSettings, {}, {}, file).settings
    assert again == RunSettings(
        dataset=("data/[a]", "b"),
        output='say "ß"\\',
        rename=("route=old",),
        unit_size=ByteSize(2**20),
        workers=3,
    )


def test_show_prints_whatever_a_name_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters, and braces in a run with --as-of, are printed so that they read back unchanged."""
    given = ["a\x7f\x01\u2028b", "ä😀{{b}}", "--as-of", "2026-11-22", "--output", "{date}/{{x}}"]
    assert main(["config", "show", *given]) == 0
    file = tmp_path / "job.toml"
    file.write_text(capsys.readouterr().out, encoding="utf-8")
    again = resolve_settings(RunSettings, {}, {}, file).settings
    assert again.dataset == ("a\x7f\x01\u2028b", "ä😀{b}")
    assert again.output == "2026-11-22/{x}"


def test_show_needs_no_dataset(capsys: pytest.CaptureFixture[str]) -> None:
    """Defaults are shown without a dataset."""
    assert main(["config", "show"]) == 0
    assert tomllib.loads(capsys.readouterr().out)["min_confidence"] == 0.7


def test_each_value_says_where_it_comes_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A comment names the flag, the variable, or the key and its file; what nobody gave is a default or not set."""
    file = tmp_path / "job.toml"
    file.write_text("shadow-rate = 0.5\n", encoding="utf-8")
    monkeypatch.setenv("LVM_BATCH_DEVICE", "cpu")
    monkeypatch.setenv("LVM_BATCH_MODELS", "registry")
    main(["config", "show", "data", "--min-margin", "0.5", "--config", str(file)])
    lines = capsys.readouterr().out.splitlines()
    assert 'dataset = ["data"]  # DATASET' in lines
    assert "min_margin = 0.5  # --min-margin" in lines
    assert 'device = "cpu"  # LVM_BATCH_DEVICE' in lines
    assert 'models_dir = "registry"  # LVM_BATCH_MODELS' in lines
    assert f"shadow_rate = 0.5  # shadow-rate in {file}" in lines
    assert "min_confidence = 0.7  # default" in lines
    assert "# bank is not set" in lines


def test_a_file_may_have_any_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A line end in the name of a file does not end the comment that names it."""
    file = tmp_path / "job\nmodel = 3"
    file.write_text("workers = 2\n", encoding="utf-8")
    assert main(["config", "show", "--config", str(file)]) == 0
    assert tomllib.loads(capsys.readouterr().out)["workers"] == 2


def test_settings_stand_under_the_topics_of_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Every topic has one heading, and common options come first."""
    main(["config", "show"])
    headings = [part.splitlines()[0] for part in capsys.readouterr().out.split("\n\n")]
    assert headings[0] == "# Common options"
    assert len(headings) == len(set(headings))


def test_show_as_json_holds_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json the settings are one object; beside it stand the kind and the place of each one's origin."""
    main(["config", "show", "--workers", "2", "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert set(shown["settings"]) == set(shown["origins"]) == set(SETTINGS)
    assert (shown["origins"]["workers"], shown["places"]) == ("flag", {"workers": "--workers"})


def test_a_wrong_variable_is_refused_by_show(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`config show` checks what it shows."""
    monkeypatch.setenv("LVM_BATCH_DEVIEC", "cpu")
    assert main(["config", "show"]) == 2
    assert "did you mean LVM_BATCH_DEVICE?" in capsys.readouterr().err


def test_schema_is_printed_with_and_without_json(capsys: pytest.CaptureFixture[str]) -> None:
    """`config schema` prints JSON with and without --json: it has no other form."""
    main(["config", "schema"])
    text = capsys.readouterr().out
    main(["config", "schema", "--json"])
    assert json.loads(text) == json.loads(capsys.readouterr().out) == schema(RunSettings)
