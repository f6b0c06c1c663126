"""Paths and configuration files in the forms that users and their systems write."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from lvm_batch.jobs.cli import main
from lvm_batch.jobs.errors import SettingsError, UsageError
from lvm_batch.jobs.monitoring.rule_files import load_rules
from lvm_batch.jobs.settings.evaluate import EvaluateSettings
from lvm_batch.jobs.settings.fields import names_of
from lvm_batch.jobs.settings.paths import expand_home, expanded_file
from lvm_batch.jobs.settings.run import RunSettings
from lvm_batch.jobs.settings.serve import ServeSettings
from lvm_batch.jobs.settings.sources import resolve_settings
from lvm_batch.jobs.settings.train import TrainSettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lvm_batch.jobs.settings.fields import Settings

KINDS = (RunSettings, TrainSettings, EvaluateSettings, ServeSettings)
PATHS = (
    "dataset",
    "output",
    "history",
    "model",
    "fallback",
    "bank",
    "release",
    "models_dir",
    "metrics_file",
    "performance_report",
)
"""Every setting of any command that is a path or a URL."""


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


def resolved(kind: type[Settings], given: Mapping[str, object], environ: Mapping[str, str] = {}) -> Settings:
    """Settings that may lack required ones."""
    return resolve_settings(kind, given, environ, required=()).settings


def plain(value: object) -> object:
    """A setting's text, or its only element."""
    return value[0] if isinstance(value, tuple) else value


@pytest.mark.parametrize("kind", KINDS)
def test_every_path_setting_is_known_here(kind: type[Settings]) -> None:
    """A setting whose description begins with a file, a folder or a path is listed here."""
    opening = re.compile(r"^(Folder|File|HTML file|Checkpoint|Bank|Parquet files|Primary checkpoint)\b")
    names = {name for name in names_of(kind) if opening.search(kind.model_fields[name].description or "")}
    assert names - {"time_column"} <= set(PATHS)


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in KINDS for name in PATHS if name in kind.model_fields]
)
def test_a_tilde_is_the_home_folder_everywhere(kind: type[Settings], name: str, tmp_path: Path) -> None:
    """A flag, a variable, a file and Python accept it, as the shell does."""
    many = name == "dataset" or (kind, name) == (EvaluateSettings, "model")
    variable = "LVM_BATCH_MODELS" if name == "models_dir" else f"LVM_BATCH_{name.upper()}"
    config = tmp_path / "job.toml"
    config.write_text(f"{name} = {['~/x'] if many else '~/x'!r}\n")
    assert plain(getattr(resolved(kind, {name: ["~/x"] if many else "~/x"}), name)) == f"{tmp_path}/x"
    assert plain(getattr(resolved(kind, {}, {variable: "~/x"}), name)) == f"{tmp_path}/x"
    assert plain(getattr(resolved(kind, {}, {"LVM_BATCH_CONFIG": "~/job.toml"}), name)) == f"{tmp_path}/x"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("~", "{}"),
        ("~/a b/~", "{}/a b/~"),
        ("file://~/x%20y", "file://{}/x%20y"),
        ("./~", "./~"),
        ("a/~/b", "a/~/b"),
        ("~no-such-user/x", "~no-such-user/x"),
        ("~$draft.parquet", "~$draft.parquet"),
        ("$HOME/x", "$HOME/x"),
        ("s3://~/x", "s3://~/x"),
    ],
)
def test_a_tilde_elsewhere_is_a_tilde(text: str, expected: str, tmp_path: Path) -> None:
    """A tilde that the shell would not expand is kept; variables are left to the shell."""
    assert expand_home(text) == expected.format(tmp_path)


def test_without_a_home_there_is_no_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's user may have neither HOME nor an entry; a folder called `~` is never meant."""
    monkeypatch.setattr("os.path.expanduser", lambda text: text)
    with pytest.raises(SettingsError, match="HOME is not set"):
        resolved(RunSettings, {"output": "~/x"})
    with pytest.raises(UsageError, match="HOME is not set"):
        expanded_file("~/job.toml", option="--config")


@pytest.mark.parametrize("name", ["metrics_file", "models_dir"])
def test_local_settings_cannot_be_urls(name: str) -> None:
    """A `file://` URL is a path; any other would be mistaken for a folder called `s3:`."""
    assert getattr(resolved(RunSettings, {name: "file:///a%20b/c"}), name) == "/a b/c"
    with pytest.raises(SettingsError, match="not a URL"):
        resolved(RunSettings, {name: "s3://bucket/c"})


def test_a_file_of_settings_may_be_a_url_of_this_machine(tmp_path: Path) -> None:
    """A URL of another machine is refused."""
    file = tmp_path / "a b.toml"
    assert expanded_file(f"file://{str(file).replace(' ', '%20')}", option="--config") == file
    with pytest.raises(UsageError, match="not a URL"):
        expanded_file("s3://bucket/job.toml", option="--config")


@pytest.mark.parametrize(
    "environ",
    [
        {"LVM_BATCH_OUTPUT": "out\n", "LVM_BATCH_HIGH_STAKES_LANE": "a, b\n", "LVM_BATCH_WORKERS": " 2\r\n"},
        {"LVM_BATCH_OUTPUT": "out\r\n", "LVM_BATCH_HIGH_STAKES_LANE": " a ,b", "LVM_BATCH_WORKERS": "2"},
    ],
)
def test_a_newline_after_a_variable_is_ignored(environ: Mapping[str, str]) -> None:
    """Mounted secrets, and files that are read into variables, end with a newline."""
    settings = resolved(RunSettings, {}, environ)
    assert isinstance(settings, RunSettings)
    assert (settings.output, settings.high_stakes_lane, settings.workers) == ("out", ("a", "b"), 2)


@pytest.mark.parametrize(
    "arguments",
    [
        ["pack", " ", "--output", "o"],
        ["pack", "{}", "--output", "o"],
        ["pack", "d", "--output", "{}"],
        ["bank", "build", "{}", "--output", "o"],
        ["status", "{}"],
        ["verify", "{}"],
        ["report", "{}"],
        ["report", "o", "--output", "{}"],
        ["demo", "--output", "{}"],
        ["monitor", "--history", "h", "--rules", "{}"],
        ["config", "show", "--config", "{}"],
        ["models", "verify", "m", "--data", "{}"],
    ],
)
def test_an_argument_of_blanks_is_refused(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """Without this check, an unset shell variable would mean the current folder."""
    assert main([text.format("") for text in arguments] + ["--json"]) == 2
    assert "nothing can be written there" in json.loads(capsys.readouterr().out)["error"]["message"]


@pytest.mark.parametrize("name", ["output", "model", "history", "lane_column"])
def test_blanks_are_no_value(name: str) -> None:
    """A blank value is never meant."""
    with pytest.raises(SettingsError, match="non-empty"):
        resolved(RunSettings, {name: "  "})


@pytest.mark.parametrize("before", ["", "\ufeff"])
@pytest.mark.parametrize("line", ["\n", "\r\n"])
def test_files_of_all_editors_are_read(tmp_path: Path, before: str, line: str) -> None:
    """A byte order mark and Windows line ends are ignored."""
    job, rules = tmp_path / "job.toml", tmp_path / "rules.toml"
    job.write_bytes(f'{before}output = "o"{line}workers = 3{line}'.encode())
    rules.write_bytes(f"{before}[shadow_gain]{line}{line}".encode())
    assert resolve_settings(RunSettings, {}, {}, job, required=()).settings.workers == 3
    assert load_rules(rules)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ('output = "o"'.encode("utf-16"), "is UTF-16"),
        ('output = "o"'.encode("utf-32"), "is UTF-16"),
        ('a = 1\noutput = "é"'.encode("latin-1"), "is not UTF-8 in line 2"),
        (b'output = "a\0b"', "is not TOML"),
        (b"output = 1\noutput = 2", "is not TOML"),
        (b"#" * 2**21, "is longer than"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, content: bytes, what: str) -> None:
    """The error names the encoding, or the line, for a monitor's rules as well as for settings."""
    file = tmp_path / "job.toml"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=what):
        resolve_settings(RunSettings, {}, {}, file, required=())
    with pytest.raises(SettingsError, match=what):
        load_rules(file)
