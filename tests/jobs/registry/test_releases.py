"""`models release` and `run --release`: what a release holds, that it is the job of its parts, what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.datasets import assert_same_predictions, windows, write_windows

from lvm_batch.io.bank.bank import build_bank
from lvm_batch.io.dataset.files import find_files
from lvm_batch.jobs.evaluation import judged_models

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.command import Result

pytestmark = pytest.mark.slow

THRESHOLDS = {
    "--min-confidence": 0.4,
    "--min-margin": 0.05,
    "--max-context-tokens": 99,
    "--high-stakes-lane": "law",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, models: Path, bank: Path) -> Path:
    """A registry of an AMN and a GRU without roles, their bank, some rows, and the release of all of them."""
    from support.command import called

    folder = tmp_path_factory.mktemp("releases")
    for name in ("amn", "gru"):
        (folder / "models" / name).mkdir(parents=True)
    shutil.copy(models / "amn.pt", folder / "models/amn/best_model.pt")
    called("models", "convert", models / "gru.pt", folder / "models/gru/model.safetensors").done()
    shutil.copytree(bank, folder / "bank")
    contexts, targets = (part[:200] for part in windows())
    columns = {"lane": ["law" if row % 5 == 0 else "sport" for row in range(200)]}
    write_windows(folder / "rows.parquet", contexts, targets, columns=columns)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judged_models, "QUERIES", 5)
        judged = (
            "--model",
            folder / "models/amn",
            "--model",
            folder / "models/gru",
            "--bank",
            folder / "bank",
        )
        called("evaluate", folder / "rows.parquet", *judged, "--output", folder / "judged").done()
    called(*release(folder, "--output", folder / "released")).done()
    return folder


def release(folder: Path, *more: object) -> list[object]:
    """The arguments that make the release."""
    parts = (
        "--fallback",
        "gru",
        "--bank",
        folder / "bank",
        "--evaluation",
        folder / "judged/evaluation.json",
    )
    bounds = [text for option in THRESHOLDS.items() for text in option]
    return ["models", "release", "amn", "--models-dir", folder / "models", *parts, *bounds, *more]


@pytest.fixture
def plan(lvm_batch: Callable[..., Result], place: Path, tmp_path: Path) -> Callable[..., Result]:
    """Plan a run of the rows."""

    def call(*arguments: object) -> Result:
        return lvm_batch("plan", place / "rows.parquet", "--output", tmp_path / "out", *arguments)

    return call


@pytest.fixture
def copied(place: Path, tmp_path: Path) -> Path:
    """A copy of the release, to be spoilt."""
    return Path(shutil.copytree(place / "released", tmp_path / "released"))


def test_a_release_holds_models_bank_thresholds_and_figures(place: Path) -> None:
    """The files are the models' own bytes; the document has their digests and the figures of the evaluation."""
    folder = place / "released"
    assert sorted(path.name for path in folder.iterdir()) == [
        "fallback.safetensors",
        "model.pt",
        "release.json",
    ]
    document = json.loads((folder / "release.json").read_text())
    judged = json.loads((place / "judged/evaluation.json").read_text())
    assert (folder / "model.pt").read_bytes() == (place / "models/amn/best_model.pt").read_bytes()
    for name, of in (("model", judged["models"][0]), ("fallback", judged["models"][1])):
        assert document[name]["sha256"] == of["sha256"]
        assert document["metrics"][name]["retrieval"] == of["retrieval"]
    assert document["bank"]["digest"] == json.loads((place / "bank/bank.json").read_text())["digest"]
    assert document["thresholds"]["min_margin"] == 0.05
    assert (document["name"], document["format"]) == ("amn", 1)


def test_a_run_with_a_release_is_the_job_of_its_parts(
    lvm_batch: Callable[..., Result], place: Path, tmp_path: Path, scheduler: str
) -> None:
    """Models and thresholds given one by one make the same job, with the same rows; the second is a rerun."""
    rows, bank = place / "rows.parquet", ("--bank", place / "bank", "--scheduler", scheduler)
    bounds = [text for option in THRESHOLDS.items() for text in option]
    released = lvm_batch(
        "run", rows, "--release", place / "released", *bank, "--output", tmp_path / "a"
    ).done()
    parts = ("--models-dir", place / "models", "--model", "amn", "--fallback", "gru", *bounds, *bank)
    given = lvm_batch("run", rows, *parts, "--output", tmp_path / "b").done()
    assert released["job_id"] == given["job_id"]
    assert released["rows_by_reason"]["high_stakes_lane"] == 40
    assert_same_predictions(tmp_path / "a", tmp_path / "b")


@pytest.fixture(scope="module")
def routed(place: Path, models: Path) -> Path:
    """A release with a router of its models, that counts own contexts."""
    from support.command import called
    from support.routers import write_router

    fallback = place / "models/gru/model.safetensors"
    router = write_router(place / "router.json", models, fallback=sha256_of(fallback))
    more = ("--router", router, "--own-context", "keep", "--output", place / "routed")
    called(*release(place, *more)).done()
    return place / "routed"


def test_a_release_carries_the_router_and_what_becomes_of_own_contexts(
    plan: Callable[..., Result], place: Path, routed: Path
) -> None:
    """Both are those of the run; another of either beside the release is refused, and so is a release without them."""
    assert (routed / "router.json").read_bytes() == (place / "router.json").read_bytes()
    bank = ("--bank", place / "bank")
    given = [text for option in THRESHOLDS.items() for text in option]
    parts = ("--models-dir", place / "models", "--model", "amn", "--fallback", "gru", *given, *bank)
    options = ("--router", place / "router.json", "--own-context", "keep")
    assert plan("--release", routed, *bank).done()["job_id"] == plan(*parts, *options).done()["job_id"]
    refused = plan("--release", routed, *bank, "--own-context", "drop", "--router", place / "router.json")
    said = json.dumps(refused.values["error"])
    assert refused.code == 2
    assert "--own-context contradicts the release" in said
    assert "--router contradicts the release" in said
    plain = plan("--release", place / "released", *bank, "--router", place / "router.json")
    assert "and no router" in plain.values["error"]["message"]


def test_a_router_that_differs_is_refused(
    lvm_batch: Callable[..., Result], plan: Callable[..., Result], place: Path, routed: Path, tmp_path: Path
) -> None:
    """One of other models makes no release; one that was changed after is named before work."""
    from support.routers import write_router

    copied = Path(shutil.copytree(routed, tmp_path / "copied"))
    (copied / "router.json").write_bytes((copied / "router.json").read_bytes() + b" ")
    result = plan("--release", copied, "--bank", place / "bank")
    assert (result.code, "router.json has changed" in result.values["error"]["message"]) == (2, True)
    other = write_router(tmp_path / "other.json", place, primary="0" * 64, fallback="1" * 64)
    made = lvm_batch(*release(place, "--router", other, "--output", tmp_path / "r"))
    assert (made.code, "was fitted to another primary model" in str(made.values["error"])) == (2, True)
    assert not (tmp_path / "r").exists()


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_settings_that_agree_may_stand_beside_a_release(plan: Callable[..., Result], place: Path) -> None:
    """A file of settings may say the same threshold as the release."""
    options = ("--release", place / "released", "--bank", place / "bank")
    assert plan(*options, "--min-margin", 0.05, "--high-stakes-lane", "law").code == 0


def test_what_contradicts_a_release_is_refused_together(
    plan: Callable[..., Result], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model, another threshold, also from the environment, and a missing bank are named, all at once."""
    monkeypatch.setenv("LVM_BATCH_MIN_CONFIDENCE", "0.9")
    result = plan("--release", place / "released", "--model", "amn", "--min-margin", 0.07)
    said = json.dumps(result.values["error"])
    assert result.code == 2
    for words in (
        "--model contradicts the release",
        "--min-margin contradicts the release",
        "sets min_margin to 0.05",
        "LVM_BATCH_MIN_CONFIDENCE contradicts the release",
        "needs the bank of",
    ):
        assert words in said


def _change_model(folder: Path) -> str:
    with (folder / "model.pt").open("ab") as file:
        file.write(b"x")
    return "model.pt has changed since the release was made"


def _remove_fallback(folder: Path) -> str:
    (folder / "fallback.safetensors").unlink()
    return "lacks a file"


def _edit(folder: Path, **values: Any) -> None:  # noqa: ANN401 - of any field
    document = json.loads((folder / "release.json").read_text())
    (folder / "release.json").write_text(json.dumps(document | values))


def _another_format(folder: Path) -> str:
    _edit(folder, format=2)
    return "is a release of the format 2, and this version of lvm-batch reads 1"


def _a_way_out(folder: Path) -> str:
    _edit(folder, model={"file": "../model.pt", "sha256": "0", "architecture": "amn"})
    return "release.json is damaged"


def _no_document(folder: Path) -> str:
    (folder / "release.json").unlink()
    return "is not a release"


@pytest.mark.parametrize(
    "spoil", [_change_model, _remove_fallback, _another_format, _a_way_out, _no_document]
)
def test_a_release_that_differs_is_refused(
    plan: Callable[..., Result], place: Path, copied: Path, spoil: Callable[[Path], str]
) -> None:
    """A changed or missing file, another format and a damaged document are named, before any work."""
    words = spoil(copied)
    result = plan("--release", copied, "--bank", place / "bank")
    error = result.values["error"]
    assert (result.code, words in error["message"]) == (2, True), error
    assert error["hint"]


def test_another_bank_is_refused(plan: Callable[..., Result], place: Path, tmp_path: Path) -> None:
    """The bank must have the digest that the release was made with; a release without a bank takes none."""
    contexts, targets = (part[:50] for part in windows())
    write_windows(tmp_path / "other.parquet", contexts, targets)
    source = find_files([str(tmp_path / "other.parquet")])
    build_bank(source, str(tmp_path / "other"), vector_column="target")
    result = plan("--release", place / "released", "--bank", tmp_path / "other")
    assert (result.code, "is not the bank of" in result.values["error"]["message"]) == (2, True)


def test_a_release_without_a_fallback_takes_none(
    lvm_batch: Callable[..., Result],
    plan: Callable[..., Result],
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where a registry has a fallback by role, a release without one still runs without, and takes no bank."""
    made = lvm_batch(
        "models", "release", "amn", "--models-dir", place / "models", "--output", tmp_path / "r"
    ).done()
    assert (made["fallback"], made["bank"], made["metrics"]) == (None, None, None)
    (tmp_path / "registry/models").mkdir(parents=True)
    (tmp_path / "registry/fallback_model").symlink_to(place / "models/gru")
    monkeypatch.setenv("LVM_BATCH_MODELS", str(tmp_path / "registry/models"))
    planned = plan("--release", tmp_path / "r").done()
    assert planned["models"].get("gru") is None
    refused = plan("--release", tmp_path / "r", "--bank", place / "bank")
    assert (refused.code, "was made without a bank" in refused.values["error"]["message"]) == (2, True)


def test_a_service_takes_a_release_too(lvm_batch: Callable[..., Result], place: Path, copied: Path) -> None:
    """It refuses what a run refuses, before it listens: one file of settings serves both."""
    words = _change_model(copied)
    result = lvm_batch("serve", "--release", copied, "--bank", place / "bank", "--port", 0)
    assert (result.code, words in result.values["error"]["message"]) == (2, True)


def test_a_release_is_made_of_what_fits(
    lvm_batch: Callable[..., Result], place: Path, tmp_path: Path
) -> None:
    """A model of the wrong kind, an evaluation of other models and a folder that is taken are refused by name."""
    registry = ("--models-dir", place / "models")
    wrong = lvm_batch("models", "release", "gru", *registry, "--output", tmp_path / "r")
    assert (wrong.code, "does not take" in wrong.values["error"]["message"]) == (2, True)
    judged = json.loads((place / "judged/evaluation.json").read_text())
    judged["models"] = judged["models"][1:]
    (tmp_path / "others.json").write_text(json.dumps(judged))
    options = (*registry, "--evaluation", tmp_path / "others.json", "--output", tmp_path / "r")
    others = lvm_batch("models", "release", "amn", *options)
    assert (others.code, "did not evaluate" in others.values["error"]["message"]) == (2, True)
    taken = lvm_batch("models", "release", "amn", *registry, "--output", place / "released")
    assert (taken.code, "already" in taken.values["error"]["message"]) == (2, True)
    assert not (tmp_path / "r").exists()
