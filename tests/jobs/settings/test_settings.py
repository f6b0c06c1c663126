"""The settings of a run, and the source of each value."""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from lvm_batch.jobs.errors import Problem, SettingsError
from lvm_batch.jobs.settings.fields import allowed, is_table, schema
from lvm_batch.jobs.settings.run import SETTINGS, RunSettings
from lvm_batch.jobs.settings.sources import VARIABLES, ResolvedSettings, resolve_settings
from lvm_batch.lvm.inference.thresholds import Thresholds

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def resolved(
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    config: Path | None = None,
) -> ResolvedSettings[RunSettings]:
    """The settings of a run with its dataset and output given."""
    return resolve_settings(
        RunSettings, {"dataset": ["in"], "output": "out", **(flags or {})}, environ or {}, config
    )


def problems(
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    config: Path | None = None,
) -> tuple[Problem, ...]:
    """All problems of settings that cannot be used."""
    with pytest.raises(SettingsError) as caught:
        resolved(flags, environ, config)
    return caught.value.problems


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """The path of a configuration file for a test to write."""
    return tmp_path / "job.toml"


def test_defaults_of_routing_are_the_cards() -> None:
    """By default, thresholds are those of the model cards."""
    assert RunSettings().thresholds == Thresholds(0.70, 0.02, 384)


def test_thresholds_follow_the_settings() -> None:
    """Each threshold of the policy is the setting of the same name."""
    settings = RunSettings(min_confidence=0.5, min_margin=0.1, max_context_tokens=9, high_stakes_lane=("a",))
    assert settings.thresholds == Thresholds(0.5, 0.1, 9, ("a",))


def test_flag_over_environment_over_file_over_default(job: Path) -> None:
    """Each source overrides the next, and the origin names the winning one."""
    job.write_text("min_confidence = 0.1\nmin_margin = 0.2\nshadow-rate = 0.3\n")
    environ = {"LVM_BATCH_MIN_CONFIDENCE": "0.4", "LVM_BATCH_MIN_MARGIN": "0.5"}
    result = resolved({"min_confidence": "0.6"}, environ, job)
    names = ("min_confidence", "min_margin", "shadow_rate", "max_bad_rows")
    assert [getattr(result.settings, name) for name in names] == [0.6, 0.5, 0.3, 0.01]
    assert [result.origins[name] for name in names] == ["flag", "environment", "config", "default"]


def test_a_flag_equal_to_the_default_is_a_flag(job: Path) -> None:
    """A flag overrides the file even if its value is the default."""
    job.write_text('device = "cuda"\n')
    result = resolved({"device": "auto"}, config=job)
    assert (result.settings.device, result.origins["device"]) == ("auto", "flag")


def test_settings_are_frozen() -> None:
    """Settings cannot change once they are resolved."""
    with pytest.raises(ValidationError):
        RunSettings().device = "cpu"


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [("64MiB", 64 * 2**20), ("200MB", 200_000_000), ("1.5 GiB", 3 * 2**29), ("4096", 4096)],
)
def test_sizes_are_read_as_people_write_them(text: str, n_bytes: int) -> None:
    """A unit size is a number of bytes, with or without a unit."""
    assert resolved({"unit_size": text}).settings.unit_size == n_bytes


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_confidence", "1.01"),
        ("min_confidence", "-1.01"),
        ("min_confidence", "nan"),
        ("min_margin", "-0.01"),
        ("max_context_tokens", "-1"),
        ("max_context_tokens", "12.5"),
        ("max_fallback_rate", "1.1"),
        ("shadow_rate", "-0.1"),
        ("max_bad_rows", "many"),
        ("workers", "0"),
        ("unit_size", "0"),
        ("unit_size", "large"),
        ("device", "gpu"),
        ("layout", "rows"),
        ("pad", "mirror"),
        ("precision", "fp8"),
        ("fallback_policy", "stop"),
        ("on_bad_file", "ignore"),
        ("output_dtype", "float64"),
        ("model", ""),
        ("lane_column", ""),
        ("rename", ["route"]),
        ("high_stakes_lane", [""]),
    ],
)
def test_a_value_out_of_range_is_refused(name: str, value: object) -> None:
    """A problem names the flag, the value, and what is allowed."""
    (problem,) = problems({name: value})
    shown = value[0] if isinstance(value, list) else value
    assert problem == Problem(
        f"--{name.replace('_', '-')} cannot be {shown!r}", f"it can be {allowed(RunSettings, name)}"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_confidence", "-1"),
        ("min_confidence", "1"),
        ("max_fallback_rate", "0"),
        ("shadow_rate", "1"),
        ("workers", "1"),
    ],
)
def test_the_edges_of_a_range_are_allowed(name: str, value: str) -> None:
    """Both ends belong to the range."""
    assert getattr(resolved({name: value}).settings, name) == float(value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("min_confidence", "a number from -1 to 1"),
        ("max_context_tokens", "a whole number of at least 0"),
        ("workers", "a whole number of at least 1"),
        ("device", "auto, cpu, cuda, mps"),
        ("pad", "repeat, zero, reject"),
        ("precision", "fp32, tf32, bf16, fp16, int8"),
        ("high_stakes_lane", "a list of strings"),
        ("model", "a non-empty string"),
        ("unit_size", "something like 64MiB or 200MB"),
    ],
)
def test_allowed_values_are_described_in_words(name: str, words: str) -> None:
    """The description of a type follows from its declaration."""
    assert allowed(RunSettings, name) == words


def test_all_problems_are_reported_at_once(job: Path) -> None:
    """One error lists the problems of all sources, each with its place."""
    job.write_text('min_margin = "wide"\nlayuot = "windows"\n')
    errors = problems({"device": "gpu"}, {"LVM_BATCH_WORKERS": "none", "LVM_BATCH_MODEL_DIR": "m"}, job)
    assert {problem.message for problem in errors} == {
        "--device cannot be 'gpu'",
        "LVM_BATCH_WORKERS cannot be 'none'",
        "LVM_BATCH_MODEL_DIR is not a setting",
        f"min_margin in {job} cannot be 'wide'",
        f"layuot in {job} is not a setting",
    }


def test_an_unknown_key_names_the_nearest_right_one(job: Path) -> None:
    """A misspelt key or variable is refused with the most similar setting."""
    job.write_text("min_confidense = 0.5\n")
    file, variable = problems(environ={"LVM_BATCH_MODELS_DIRS": "m"}, config=job)
    assert file.hint == "did you mean min_confidence?"
    assert variable.hint == "did you mean LVM_BATCH_MODELS_DIR?"


@pytest.mark.parametrize("word", ["batch_size", "threads", "home", "fields", "thresholds"])
def test_a_name_that_is_only_a_little_alike_is_not_suggested(job: Path, word: str) -> None:
    """A wrong suggestion misleads; the prefix that all variables share does not count as similarity."""
    job.write_text(f"{word} = 1\n")
    hints = {problem.hint for problem in problems(environ={f"LVM_BATCH_{word.upper()}": "1"}, config=job)}
    assert hints == {"`lvm-batch config schema` lists every setting"}


def test_an_unknown_key_unlike_any_setting_points_to_the_schema(job: Path) -> None:
    """If no setting is similar, the hint says where all settings are listed."""
    job.write_text("[routing]\nmin_confidence = 0.5\n")
    (problem,) = problems(config=job)
    assert problem == Problem(
        f"routing in {job} is not a setting", "`lvm-batch config schema` lists every setting"
    )


def test_a_missing_setting_is_reported_with_every_way_to_give_it() -> None:
    """A run needs a dataset and an output; the hint has the flag, the variable and the key."""
    with pytest.raises(SettingsError) as caught:
        resolve_settings(RunSettings, {}, {})
    assert [problem.message for problem in caught.value.problems] == [
        "no dataset is given",
        "no output is given",
    ]
    assert caught.value.problems[1].hint == (
        "give --output, set LVM_BATCH_OUTPUT, or write output in a --config file"
    )


def test_nothing_is_missing_where_nothing_is_required() -> None:
    """Settings can be inspected before a dataset is chosen."""
    assert resolve_settings(RunSettings, {}, {}, required=()).settings == RunSettings()


def test_variables_that_hold_lists_are_split_at_commas() -> None:
    """A variable of a repeatable setting holds several values."""
    environ = {
        "LVM_BATCH_DATASET": "a.parquet,b.parquet",
        "LVM_BATCH_HIGH_STAKES_LANE": "law,policy/procedure",
    }
    settings = resolve_settings(RunSettings, {"output": "out"}, environ).settings
    assert settings.dataset == ("a.parquet", "b.parquet")
    assert settings.high_stakes_lane == ("law", "policy/procedure")


def test_an_empty_variable_is_not_set() -> None:
    """`LVM_BATCH_BANK= lvm-batch run` uses no bank."""
    result = resolved(environ={"LVM_BATCH_BANK": ""})
    assert (result.settings.bank, result.origins["bank"]) == (None, "default")


def test_the_models_folder_has_a_short_variable() -> None:
    """LVM_BATCH_MODELS sets the models folder; the variable of the setting's full name overrides it."""
    short = {"LVM_BATCH_MODELS": "short"}
    assert resolved(environ=short).settings.models_dir == "short"
    assert resolved(environ=short | {"LVM_BATCH_MODELS_DIR": "long"}).settings.models_dir == "long"


def test_the_file_can_be_named_by_a_variable_and_a_flag_wins(tmp_path: Path) -> None:
    """LVM_BATCH_CONFIG names the configuration file if --config is not given."""
    one, other = tmp_path / "one.toml", tmp_path / "other.toml"
    one.write_text("workers = 1\n")
    other.write_text("workers = 2\n")
    environ = {"LVM_BATCH_CONFIG": str(one)}
    assert resolved(environ=environ).settings.workers == 1
    assert resolved(environ=environ, config=other).settings.workers == 2


@pytest.mark.parametrize("content", [None, "min_margin 0.5", b"\xff\xfe"])
def test_a_file_that_cannot_be_used_is_named(job: Path, content: str | bytes | None) -> None:
    """The error names a file that is missing, not TOML, or not text."""
    if content is not None:
        job.write_bytes(content.encode() if isinstance(content, str) else content)
    (problem,) = problems(config=job)
    assert str(job) in problem.message
    assert problem.hint


def test_an_unreadable_file_does_not_make_settings_missing(job: Path) -> None:
    """The file may hold the dataset and the output, so the file is the only problem."""
    with pytest.raises(SettingsError) as caught:
        resolve_settings(RunSettings, {}, {}, job)
    assert [problem.message for problem in caught.value.problems] == [
        f"{job} cannot be read: No such file or directory"
    ]


def test_one_key_in_two_spellings_is_refused(job: Path) -> None:
    """Dashes and underscores are the same key, so both spellings at once are an error."""
    job.write_text("min-margin = 0.1\nmin_margin = 0.2\n")
    (problem,) = problems(config=job)
    assert problem.message == f"min_margin in {job} is given twice"


def test_booleans_are_no_numbers(job: Path) -> None:
    """TOML's true is not accepted as 1."""
    job.write_text("max_fallback_rate = true\n")
    (problem,) = problems(config=job)
    assert problem.message == f"max_fallback_rate in {job} cannot be True"


@pytest.mark.parametrize(
    ("pairs", "what"),
    [
        (["a=b", "c=d", "a=e"], "`a` is renamed twice: a=b and a=e"),
        (["a=b", "c=b"], "`b` is the new name of two columns: a=b and c=b"),
        (["a=b", "a=b"], "`a` is renamed twice: a=b and a=b"),
    ],
)
def test_renames_that_contradict_each_other_are_refused(job: Path, pairs: list[str], what: str) -> None:
    """Neither wins silently; the error names both, wherever they are given."""
    assert problems({"rename": pairs}) == (Problem(f"--rename: {what}", "keep one of the two"),)
    job.write_text(f"rename = {json.dumps(pairs)}\n")
    assert [problem.message for problem in problems(config=job)] == [f"rename in {job}: {what}"]


def test_two_columns_may_swap_their_names() -> None:
    """A new name may be another column's old name."""
    assert resolved({"rename": ["a=b", "b=a"]}).settings.rename == ("a=b", "b=a")


def test_an_empty_list_of_lanes_is_a_choice(job: Path) -> None:
    """With an empty list of high-stakes lanes, the criterion holds for no row."""
    job.write_text("high_stakes_lane = []\n")
    assert resolved(config=job).settings.high_stakes_lane == ()


def test_every_setting_is_described_and_has_a_variable() -> None:
    """Help, schema and environment contain every setting; a table is only for the file."""
    assert all(schema(RunSettings)["properties"][name]["description"] for name in SETTINGS)
    tables = {name for name in SETTINGS if is_table(RunSettings, name)}
    assert tables == {"slurm", "kubernetes", "ssh"}
    assert set(VARIABLES.values()) >= set(SETTINGS) - tables
    assert not set(VARIABLES.values()) & tables


def test_the_schema_refuses_unknown_keys() -> None:
    """An editor that checks against the schema marks a misspelt key."""
    assert schema(RunSettings)["additionalProperties"] is False
    assert json.loads(json.dumps(schema(RunSettings))) == schema(RunSettings)


def test_a_command_of_few_options_takes_a_file_of_many(job: Path) -> None:
    """One file serves all commands: a command ignores another's settings, but an unknown name is an error."""
    job.write_text('history = "runs"\nuntil = "{date}"\nworkers = 0\n')
    taken = {"required": (), "names": ("history",)}
    result = resolve_settings(RunSettings, {}, {"LVM_BATCH_DEVICE": "gpu"}, job, **taken)
    assert result.settings == RunSettings(history="runs")
    job.write_text('histroy = "runs"\n')
    with pytest.raises(SettingsError, match="histroy"):
        resolve_settings(RunSettings, {}, {}, job, **taken)


def test_a_time_fills_in_for_every_command(job: Path) -> None:
    """Placeholders are filled in also for a command without the option."""
    job.write_text('dataset = ["in/{date}"]\nas_of = "2026-11-22"\n')
    result = resolve_settings(RunSettings, {}, {}, job, required=("dataset",), names=("dataset",))
    assert result.settings.dataset == ("in/2026-11-22",)


def test_a_settings_error_survives_pickling() -> None:
    """An error keeps its problems between processes."""
    error = SettingsError(Problem("a", "b"), Problem("c", "d"))
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - pickled on this line
    assert (copy.args, copy.problems) == (error.args, error.problems)


def test_one_problem_is_the_error_itself() -> None:
    """A single problem is reported without a summary around it."""
    assert SettingsError(Problem("what", "do")).args == ("what", "do")


@pytest.mark.parametrize(("written", "value"), [("true", True), ("1", True), ("false", False), ("0", False)])
def test_a_switch_is_set_by_every_source(job: Path, written: str, *, value: bool) -> None:
    """A variable and a file set it, too."""
    job.write_text(f"no_prediction = {written}\n")
    assert resolved(config=job).settings.no_prediction is value
    assert resolved(environ={"LVM_BATCH_NO_PREDICTION": written}).settings.no_prediction is value


def test_a_switch_is_on_or_off() -> None:
    """Another value is an error that says what there is."""
    assert problems(environ={"LVM_BATCH_NO_PREDICTION": "ja"}) == (
        Problem("LVM_BATCH_NO_PREDICTION cannot be 'ja'", "it can be true or false"),
    )


def test_a_column_is_not_both_kept_and_dropped(job: Path) -> None:
    """The contradiction is reported where it was written."""
    job.write_text('drop = ["id", "text"]\n')
    [problem] = problems({"columns": ["text"]}, config=job)
    assert problem.message == f"drop in {job}: `text` is also in --columns"
