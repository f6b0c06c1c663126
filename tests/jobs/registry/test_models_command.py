"""``lvm-batch models``: what list and show print, what verify accepts, and how a role changes and rolls back."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from support.datasets import write_windows
from support.full_disk import files_of_at_most

from lvm_batch.jobs.cli import main
from lvm_batch.jobs.registry.model_checks import check_outputs, random_contexts
from lvm_batch.lvm import AttentionMixtureNetwork, build_model, save_checkpoint
from lvm_batch.lvm.inference.cosines import row_cosines
from lvm_batch.lvm.kernels.forms import FAST_FORMS
from lvm_batch.lvm.registry.role_log import open_role_log, read_role_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lvm_batch.lvm import ContextModel

pytestmark = pytest.mark.slow

DIM = 16
SMALL = {"input_dim": DIM, "d_model": 8}
PRODUCTION, FALLBACK = "production_model", "fallback_model"


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Small models are slower on several threads."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def small_amn(seed: int, *, residual: float = 0.0) -> ContextModel:
    """An AMN that predicts the mean of the context plus a random vector of length ``residual``."""
    model = build_model("amn", seed=seed, **SMALL, hidden_dim=8)
    with torch.no_grad():
        model.output_layer.weight.mul_(residual)
        model.output_layer.bias.mul_(residual)
    return model


def save(models_dir: Path, name: str, model: ContextModel, architecture: str = "amn") -> Path:
    """Save a model to a registry; return its checkpoint."""
    path = models_dir / name / "best_model.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(path, model, architecture=architecture, epoch=4, val_loss=0.5, val_cosine=0.625)
    return path


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    """Two models that predict the mean of the context, a worse one, and a GRU; no model has a role."""
    models = tmp_path / "lvm" / "models"
    save(models, "amn-1", small_amn(1))
    save(models, "amn-2", small_amn(1, residual=1e-3))
    save(models, "worse", small_amn(3, residual=1.0))
    save(models, "gru-1", build_model("gru", seed=4, **SMALL, num_layers=1), "gru")
    return models


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """1,100 windows of 16-dimensional vectors whose target is near the mean of the context; the last 40 are ood."""
    random = np.random.default_rng(5)
    contexts = random.standard_normal((1100, 5, DIM), dtype=np.float32) + 2.0
    targets = contexts.mean(axis=1) + 0.1 * random.standard_normal((1100, DIM), dtype=np.float32)
    targets[-40:] += random.standard_normal((40, DIM), dtype=np.float32)  # harder to predict
    split = ["in_dist"] * 1060 + ["ood"] * 40
    return write_windows(tmp_path / "held-out.parquet", contexts, targets, columns={"split": split})


@pytest.fixture
def models_command(lvm_batch: Callable[..., Any], models_dir: Path) -> Callable[..., Any]:
    """Call ``lvm-batch models`` on that registry, with vectors 16 wide."""

    def call(command: str, *arguments: object) -> Any:  # noqa: ANN401 - a Result, of the outer conftest
        dim = ("--dim", DIM) if command in {"verify", "promote"} else ()
        return lvm_batch("models", command, *arguments, "--models-dir", models_dir, *dim)

    return call


def role(models_dir: Path, name: str = PRODUCTION) -> str | None:
    """The model with a role, as the link says."""
    link = models_dir.parent / name
    return link.readlink().name if link.is_symlink() else None


def failed(result: Any) -> list[str]:  # noqa: ANN401
    """The checks that did not pass."""
    return [check["name"] for check in result.values["checks"] if not check["passed"]]


def test_a_list_has_every_model_and_role(models_command: Callable[..., Any], models_dir: Path) -> None:
    """It shows architecture, size, digest, figures and roles; a model that cannot be loaded has the reason."""
    (models_dir / "empty").mkdir()
    torn = models_dir / "torn" / "best_model.pt"
    torn.parent.mkdir()
    torn.write_bytes((models_dir / "amn-1/best_model.pt").read_bytes()[:500])
    models_command("promote", "amn-1").done()
    values = models_command("list").values
    models = {model["name"]: model for model in values["models"]}
    assert list(models) == ["amn-1", "amn-2", "empty", "gru-1", "torn", "worse"]
    amn = models["amn-1"]
    assert (amn["architecture"], amn["dim"], amn["n_parameters"]) == ("amn", DIM, 784)
    assert (amn["val_cosine"], amn["roles"], len(amn["sha256"])) == (0.625, [PRODUCTION], 64)
    assert "no best_model.pt or model.safetensors" in models["empty"]["problem"]
    assert "damaged or cut short" in models["torn"]["problem"]
    assert values["roles"][PRODUCTION]["name"] == "amn-1"
    assert values["roles"][PRODUCTION]["since"].endswith("+00:00")
    assert values["roles"][FALLBACK] is None


def test_a_list_is_a_table(models_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """There is one line a model under the heading, then one line a role."""
    (models_dir.parent / PRODUCTION).symlink_to("models/amn-1")
    (models_dir.parent / FALLBACK).symlink_to("models/gone")
    assert main(["models", "list", "--models-dir", str(models_dir)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert " ".join(lines[0].split()) == "name arch parameters dim size cosine sha256 roles"
    assert lines[1].split()[:4] == ["amn-1", "amn", "784", "16"]
    assert lines[1].endswith(PRODUCTION.removesuffix("_model"))
    assert lines[-2] == "production_model: amn-1"
    assert "leads to models/gone, which does not exist" in lines[-1]


def test_an_empty_registry_says_how_to_train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty folder is no error; a missing folder is one, with the same hint."""
    (tmp_path / "models").mkdir()
    assert main(["models", "list", "--models-dir", str(tmp_path / "models")]) == 0
    command = f"lvm-batch train DATASET --arch amn --output {tmp_path}"
    assert f"{command}/models/NAME" in capsys.readouterr().out
    assert main(["models", "list", "--models-dir", str(tmp_path / "nowhere")]) == 2
    printed = capsys.readouterr()
    assert f"{command}/nowhere/NAME" in printed.err
    assert printed.out == ""


def test_show_describes_one_model(
    models_command: Callable[..., Any], models_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It works by name, role or path, and has digest, dimensions, figures, roles, card, and the path of its history."""
    (models_dir / "amn-1/MODEL_CARD.md").write_text("# The card\n", encoding="utf-8")
    (models_dir / "amn-1/training_history.json").write_text("{}", encoding="utf-8")
    models_command("promote", "amn-1").done()
    shown = [models_command("show", name).values for name in ("amn-1", PRODUCTION, models_dir / "amn-1")]
    assert shown[0] == shown[1] == shown[2]
    assert (shown[0]["card"], shown[0]["epoch"], shown[0]["val_cosine"]) == ("# The card\n", 4, 0.625)
    assert shown[0]["dimensions"] == {**SMALL, "hidden_dim": 8}
    assert shown[0]["history_path"] == str(models_dir / "amn-1/training_history.json")
    assert list(shown[0]["roles"]) == [PRODUCTION]
    assert main(["models", "show", "amn-1", "--models-dir", str(models_dir)]) == 0
    text = capsys.readouterr().out
    assert shown[0]["sha256"] in text
    assert text.endswith("# The card\n")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("amn-3", "did you mean amn-2 or amn-1"),
        ("empty", "no best_model.pt or model.safetensors"),
        ("torn", "damaged or cut short"),
        (FALLBACK, "no model has the role fallback_model"),
        (PRODUCTION, "leads to models/gone, which does not exist"),
    ],
)
def test_show_refuses_what_is_no_model(
    models_command: Callable[..., Any], models_dir: Path, name: str, message: str
) -> None:
    """The error says what is wrong and what to do, without a traceback."""
    (models_dir / "empty").mkdir()
    (models_dir / "torn").mkdir()
    (models_dir / "torn/best_model.pt").write_bytes(b"PK\x03\x04 and no more")
    (models_dir.parent / PRODUCTION).symlink_to("models/gone")
    result = models_command("show", name)
    error = result.values["error"]
    assert (result.code, message in error["message"] + error["hint"]) == (2, True)
    assert error["hint"]


def test_a_sound_model_passes(models_command: Callable[..., Any], dataset: Path) -> None:
    """It loads, has the expected width, and gives unit vectors, the same packed as published."""
    result = models_command("verify", "amn-1", "--data", dataset)
    checks = {check["name"]: check["figure"] for check in result.values["checks"]}
    assert (result.code, result.values["passed"], result.values["role"]) == (0, True, PRODUCTION)
    assert list(checks) == ["loads", "dimensions", "unit norm", "same numbers", "cosine"]
    assert checks["dimensions"] == DIM
    assert max(checks["unit norm"], checks["same numbers"]) < 1e-6
    assert result.values["cosine"]["mean"] == pytest.approx(result.values["cosine"]["context_mean"], abs=1e-6)


def test_the_width_follows_from_data_and_roles(
    lvm_batch: Callable[..., Any], models_dir: Path, dataset: Path
) -> None:
    """The width comes from --dim, the data or the models with a role; without any of them it is 768."""
    verify = ("models", "verify", "amn-1", "--models-dir", models_dir)
    assert failed(lvm_batch(*verify)) == ["dimensions"]
    assert lvm_batch(*verify, "--data", dataset).code == 0
    (models_dir.parent / FALLBACK).symlink_to("models/gru-1")
    assert lvm_batch(*verify).code == 0
    save(models_dir, "gru-1", build_model("gru", seed=4, input_dim=8, d_model=8, num_layers=1), "gru")
    result = lvm_batch(*verify)
    assert (result.code, failed(result)) == (3, ["dimensions"])
    assert result.values["error"]["message"] == "amn-1 fails 1 of 4 checks: dimensions"
    given = lvm_batch(*verify, "--dim", DIM)
    assert given.code == 0
    assert given.values["notes"] == ["fallback_model takes vectors of 8: a run refuses the two together"]


def test_rows_out_of_distribution_are_judged_first(models_command: Callable[..., Any], dataset: Path) -> None:
    """They are sought among 20 times the requested rows; other rows fill up the number."""
    table = pq.read_table(dataset)
    contexts, targets = (
        np.stack(table[name].to_numpy()).reshape(1100, -1, DIM) for name in ("context", "target")
    )
    cosines = row_cosines(contexts.mean(axis=1), targets[:, 0])
    for n_rows, n_ood, judged in (
        (60, 40, np.concatenate([cosines[1060:], cosines[:20]])),
        (100, 40, np.concatenate([cosines[1060:], cosines[:60]])),
        (2000, 40, cosines),
        (30, 0, cosines[:30]),  # none among the first 600
    ):
        result = models_command("verify", "amn-1", "--data", dataset, "--sample-rows", n_rows)
        cosine = result.values["cosine"]
        assert (cosine["rows"], cosine["ood_rows"]) == (len(judged), n_ood)
        assert cosine["mean"] == pytest.approx(float(judged.mean()), abs=1e-6)


def test_a_packed_form_of_other_numbers_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The packed form, which a run uses, is compared with the published forward pass."""

    def one_off(model: ContextModel, _: object) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda contexts: torch.roll(model(contexts), 1, dims=1)

    monkeypatch.setitem(FAST_FORMS, AttentionMixtureNetwork, one_off)
    checks = check_outputs(AttentionMixtureNetwork(**SMALL, hidden_dim=8), random_contexts(DIM))
    assert [(check.name, check.passed) for check in checks] == [("unit norm", True), ("same numbers", False)]


def test_data_of_another_width_is_refused(models_command: Callable[..., Any], tmp_path: Path) -> None:
    """The error names the file, as a run's does."""
    random = np.random.default_rng(6)
    path = write_windows(
        tmp_path / "wide.parquet",
        random.random((3, 5, 24), np.float32),
        random.random((3, 24), dtype=np.float32),
    )
    result = models_command("verify", "amn-1", "--data", path)
    assert (result.code, str(path) in result.values["error"]["message"]) == (2, True)


def test_data_without_targets_is_refused(models_command: Callable[..., Any], tmp_path: Path) -> None:
    """Without targets nothing can be compared, so the model is not promoted."""
    path = write_windows(tmp_path / "x.parquet", np.random.default_rng(6).random((3, 5, DIM), np.float32))
    result = models_command("promote", "amn-1", "--data", path)
    assert (result.code, "target" in result.values["error"]["message"]) == (2, True)


def broken_model(kind: str) -> tuple[str, ContextModel]:
    """A model that loads but does not work, with the name of its architecture."""
    match kind:
        case "overflows":
            model = small_amn(1, residual=1.0)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.mul_(1e30)
            return "amn", model
        case "predicts nothing":
            model = build_model("lstm", seed=1, input_dim=DIM, hidden_dim=8)
            with torch.no_grad():
                model.output_layer.weight.zero_()
                model.output_layer.bias.zero_()
            return "lstm", model
    raise ValueError(kind)


@pytest.mark.parametrize(
    ("kind", "finding"),
    [
        ("overflows", "not finite: "),
        ("predicts nothing", "within 1.0e+00 of 1"),
    ],
)
def test_a_model_of_no_use_fails(
    models_command: Callable[..., Any], models_dir: Path, dataset: Path, kind: str, finding: str
) -> None:
    """Infinite or zero predictions are a failed check with the finding, and no cosine is computed."""
    architecture, model = broken_model(kind)
    save(models_dir, "broken", model, architecture)
    result = models_command("verify", "broken", "--data", dataset)
    assert (result.code, result.values["error"]["kind"]) == (3, "gate")
    assert failed(result)[0] == "unit norm"
    assert any(finding in check["found"] for check in result.values["checks"])
    assert result.values["cosine"] is None


def test_a_damaged_checkpoint_fails_its_first_check(
    models_command: Callable[..., Any], models_dir: Path
) -> None:
    """Verify and promote exit with 3, and no role changes."""
    path = models_dir / "amn-1/best_model.pt"
    path.write_bytes(path.read_bytes()[:500])
    for command in ("verify", "promote"):
        result = models_command(command, "amn-1")
        assert (result.code, failed(result)) == (3, ["loads"])
    assert role(models_dir) is None


def test_a_promotion_sets_the_role_and_writes_the_log(
    models_command: Callable[..., Any], models_dir: Path, dataset: Path
) -> None:
    """The architecture decides the role; the log has the time, the user, both models and the cosines."""
    first = models_command("promote", "amn-1")
    second = models_command("promote", "amn-2", "--data", dataset)
    fallback = models_command("promote", "gru-1")
    assert [result.code for result in (first, second, fallback)] == [0, 0, 0]
    assert (role(models_dir), role(models_dir, FALLBACK)) == ("amn-2", "gru-1")
    assert (first.values["from"], first.values["to"]["name"], first.values["changed"]) == (
        None,
        "amn-1",
        True,
    )
    changes = read_role_log(models_dir)
    assert [(change.role, change.after.name) for change in changes] == [
        (PRODUCTION, "amn-1"),
        (PRODUCTION, "amn-2"),
        (FALLBACK, "gru-1"),
    ]
    assert changes[1].before == changes[0].after
    assert changes[1].cosine == second.values["cosine"]
    assert changes[1].cosine is not None
    assert (changes[1].cosine["current"], changes[1].cosine["rows"]) == ("amn-1", 1100)
    assert "@" in changes[0].by


def test_a_missing_comparison_is_a_note(models_command: Callable[..., Any], models_dir: Path) -> None:
    """Without --data a model may replace another, and the result says that no cosine was compared."""
    assert models_command("promote", "amn-1").values["notes"] == []
    notes = models_command("promote", "worse").values["notes"]
    assert notes == ["no cosine was compared with production_model: give rows for that with --data"]
    assert role(models_dir) == "worse"


def test_a_model_with_the_role_is_left_alone(models_command: Callable[..., Any], models_dir: Path) -> None:
    """Promoting it again changes nothing and exits with 0."""
    models_command("promote", "amn-1").done()
    again = models_command("promote", "amn-1")
    assert (again.code, again.values["changed"], len(read_role_log(models_dir))) == (0, False, 1)


def test_a_worse_model_does_not_get_the_role(
    models_command: Callable[..., Any], models_dir: Path, dataset: Path
) -> None:
    """A mean cosine below the current model's by more than the tolerance exits with 3 and changes nothing."""
    models_command("promote", "amn-1").done()
    result = models_command("promote", "worse", "--data", dataset)
    assert (result.code, failed(result), result.values["changed"]) == (3, ["cosine"], False)
    assert result.values["cosine"]["change"] < -0.005
    assert (role(models_dir), len(read_role_log(models_dir))) == ("amn-1", 1)
    allowed = models_command("promote", "worse", "--data", dataset, "--tolerance", 2)
    assert (allowed.code, role(models_dir)) == (0, "worse")


def test_a_window_without_a_cosine_is_left_out(
    models_command: Callable[..., Any], models_dir: Path, dataset: Path, tmp_path: Path
) -> None:
    """A context that overflows float32 does not count against a model: it is counted, and the others are compared."""
    table = pq.read_table(dataset)
    contexts, targets = (
        np.stack(table[name].to_numpy()).reshape(1100, -1, DIM).astype(np.float32)
        for name in ("context", "target")
    )
    contexts[7] = 3e38
    path = write_windows(tmp_path / "long.parquet", contexts, targets[:, 0])
    models_command("promote", "amn-1").done()
    result = models_command("promote", "amn-2", "--data", path)
    cosine = result.values["cosine"]
    assert (result.code, cosine["rows"], cosine["without_cosine"]) == (0, 1099, 1)
    means = [cosine[name] for name in ("mean", "current_mean", "context_mean")]
    assert means == pytest.approx([means[0]] * 3, abs=1e-4)
    check = result.values["checks"][-1]
    assert "on 1,099 windows, 1 without a cosine left out" in check["found"]


def test_a_current_model_without_a_cosine_blocks_no_promotion(
    models_command: Callable[..., Any], models_dir: Path, dataset: Path
) -> None:
    """A model with NaN predictions loses its role to any model that works."""
    architecture, model = broken_model("overflows")
    save(models_dir, "broken", model, architecture)
    (models_dir.parent / PRODUCTION).symlink_to("models/broken")
    result = models_command("promote", "amn-1", "--data", dataset)
    cosine = result.values["cosine"]
    assert (result.code, role(models_dir)) == (0, "amn-1")
    assert (cosine["rows"], cosine["current"], cosine["current_mean"]) == (1100, "broken", None)
    assert "broken has none" in result.values["checks"][-1]["found"]


def test_a_model_is_verified_on_contexts_of_its_own_length(
    models_command: Callable[..., Any], models_dir: Path, tmp_path: Path
) -> None:
    """A model of three vectors gets contexts of three, and is not compared with one of five."""
    mixer = build_model(
        "amn-mixer", seed=1, input_dim=DIM, output_dim=DIM, hidden_dim=8, d_model=8, max_length=3
    )
    save(models_dir, "three", mixer, "amn-mixer")
    (models_dir.parent / PRODUCTION).symlink_to("models/amn-1")
    vectors = np.random.default_rng(6).standard_normal((40, 4, DIM), dtype=np.float32)
    data = write_windows(tmp_path / "three.parquet", vectors[:, :3], vectors[:, 3])
    result = models_command("verify", "three", "--data", data)
    assert (result.code, result.values["cosine"]["rows"]) == (0, 40)
    assert result.values["cosine"]["current"] is None
    assert result.values["notes"] == [f"no cosine was compared: {PRODUCTION} takes contexts of 5 vectors"]
    assert "contexts of 3" in result.values["checks"][1]["found"]


def test_a_role_takes_its_architectures_only(models_command: Callable[..., Any], models_dir: Path) -> None:
    """Promote refuses a model that a run would refuse in that role; an archived architecture has no role."""
    save(models_dir, "lstm-1", build_model("lstm", seed=1, input_dim=DIM, hidden_dim=8), "lstm")
    for arguments, message in (
        (("gru-1", "--role", PRODUCTION), "which production_model does not take"),
        (("amn-1", "--role", FALLBACK), "which fallback_model does not take"),
        (("lstm-1",), "no role takes lstm-1"),
    ):
        result = models_command("promote", *arguments)
        assert (result.code, message in result.values["error"]["message"]) == (2, True)
    assert models_command("verify", "lstm-1").code == 0
    assert role(models_dir) is role(models_dir, FALLBACK) is None


def test_only_models_of_the_registry_are_promoted(
    models_command: Callable[..., Any], models_dir: Path, tmp_path: Path
) -> None:
    """A name or a path into the registry works; a model elsewhere can be verified, but must be copied first."""
    shutil.copytree(models_dir / "amn-1", tmp_path / "elsewhere")
    assert models_command("verify", tmp_path / "elsewhere").code == 0
    result = models_command("promote", tmp_path / "elsewhere")
    assert (result.code, "is not in the registry" in result.values["error"]["message"]) == (2, True)
    assert models_command("promote", models_dir / "amn-1/best_model.pt").values["to"]["name"] == "amn-1"


def test_a_checkpoint_without_a_folder_gets_a_role_and_gives_it_back(
    models_command: Callable[..., Any], lvm_batch: Callable[..., Any], models_dir: Path, dataset: Path
) -> None:
    """It is listed, shown, verified, promoted, judged and rolled back by its name; its role's link is to the file."""
    (models_dir / "amn-2/best_model.pt").rename(models_dir / "amn_v0.pt")
    (models_dir / "amn-2").rmdir()
    (models_dir / "MODEL_CARD.md").write_text("# About the whole folder")
    listed = [model["name"] for model in models_command("list").values["models"]]
    assert listed == ["amn-1", "amn_v0", "gru-1", "worse"]
    shown = models_command("show", "amn_v0").values
    assert (shown["name"], shown["path"], shown["card"]) == ("amn_v0", str(models_dir / "amn_v0.pt"), None)
    assert models_command("verify", "amn_v0").values["name"] == "amn_v0"
    assert models_command("promote", "amn-1").code == 0
    promoted = models_command("promote", "amn_v0").values
    assert (promoted["to"]["name"], role(models_dir)) == ("amn_v0", "amn_v0.pt")
    roles = models_command("list").values["roles"]
    assert (roles[PRODUCTION]["name"], roles[PRODUCTION]["problem"]) == ("amn_v0", None)
    judged = lvm_batch("evaluate", dataset, "--models-dir", models_dir)
    assert [model["name"] for model in judged.values["models"]] == ["amn_v0"]
    assert models_command("promote", "amn-1").code == 0
    assert models_command("rollback").values["to"]["name"] == "amn_v0"
    assert role(models_dir) == "amn_v0.pt"


def test_rollback_goes_back_further_each_time(models_command: Callable[..., Any], models_dir: Path) -> None:
    """It returns to the previous model, then to the one before, until there is none; the log has every change."""
    for name in ("amn-1", "amn-2", "worse"):
        models_command("promote", name).done()
    went = [models_command("rollback") for _ in range(3)]
    assert [result.code for result in went] == [0, 0, 2]
    assert [result.values["to"]["name"] for result in went[:2]] == ["amn-2", "amn-1"]
    message = went[2].values["error"]["message"]
    assert message == "no earlier model of production_model is known before amn-1"
    assert [change.action for change in read_role_log(models_dir)[3:]] == ["rollback", "rollback"]
    assert role(models_dir) == "amn-1"


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: save(folder.parent, folder.name, small_amn(9)), "has been changed: its sha256 is"),
        (shutil.rmtree, "no longer exists"),
    ],
)
def test_rollback_gives_back_the_same_file_only(
    models_command: Callable[..., Any], models_dir: Path, harm: Callable[[Path], object], message: str
) -> None:
    """A model that is missing or has changed since does not get the role back."""
    for name in ("amn-1", "amn-2"):
        models_command("promote", name).done()
    harm(models_dir / "amn-1")
    result = models_command("rollback")
    assert (result.code, message in result.values["error"]["message"]) == (2, True)
    assert role(models_dir) == "amn-2"


def test_rollback_without_a_log_changes_nothing(models_command: Callable[..., Any], models_dir: Path) -> None:
    """A link that was set by hand has no previous model."""
    (models_dir.parent / PRODUCTION).symlink_to("models/amn-1")
    assert models_command("rollback").code == 2
    assert (
        models_command("rollback", "--role", FALLBACK).values["error"]["message"]
        == f"no earlier model of {FALLBACK} is known"
    )
    assert role(models_dir) == "amn-1"


def test_a_broken_role_can_be_replaced(
    models_command: Callable[..., Any], models_dir: Path, dataset: Path
) -> None:
    """Promotion and rollback repair it; a note says that nothing could be compared."""
    for name in ("amn-1", "amn-2"):
        models_command("promote", name).done()
    shutil.rmtree(models_dir / "amn-2")
    assert models_command("rollback").values["to"]["name"] == "amn-1"
    models_command("promote", "worse").done()
    shutil.rmtree(models_dir / "worse")
    result = models_command("promote", "amn-1", "--data", dataset)
    assert (result.code, role(models_dir)) == (0, "amn-1")
    assert "nothing can be compared with production_model" in result.values["notes"][0]


def test_what_is_no_link_is_not_replaced(models_command: Callable[..., Any], models_dir: Path) -> None:
    """It may be a user's file; promotion, rollback and show say what to do, list continues."""
    link = models_dir.parent / PRODUCTION
    link.write_text("some\nnotes\n", encoding="utf-8")
    for command in (("promote", "amn-1"), ("rollback",), ("show", PRODUCTION)):
        result = models_command(*command)
        assert (result.code, result.values["error"]["hint"] != "") == (2, True)
        assert "neither a link nor a line" in result.values["error"]["message"]
    assert link.read_text(encoding="utf-8") == "some\nnotes\n"
    listed = models_command("list")
    assert (listed.code, len(listed.values["models"])) == (0, 4)
    assert "neither a link nor a line" in listed.values["roles"][PRODUCTION]["problem"]


def test_a_retrained_model_is_reported_and_verified_again(
    models_command: Callable[..., Any], models_dir: Path, dataset: Path
) -> None:
    """Retraining the model with the role changes it unverified: list says so, and promote verifies it."""
    models_command("promote", "amn-1").done()
    save(models_dir, "amn-1", small_amn(8, residual=0.01))
    problem = models_command("list").values["roles"][PRODUCTION]["problem"]
    assert problem == "amn-1 has been rewritten since it got the role, and not been verified since"
    result = models_command("promote", "amn-1", "--data", dataset)
    assert (result.code, result.values["changed"]) == (0, True)
    assert result.values["from"]["name"] == result.values["to"]["name"] == "amn-1"
    assert models_command("list").values["roles"][PRODUCTION]["problem"] is None


def test_two_promotions_do_not_interleave(models_command: Callable[..., Any], models_dir: Path) -> None:
    """While one process changes roles, another exits with 75."""
    with open_role_log(models_dir):
        for command in (("promote", "amn-1"), ("rollback",)):
            result = models_command(*command)
            assert (result.code, result.values["error"]["kind"]) == (75, "try_again")
    assert models_command("promote", "amn-1").code == 0


@pytest.mark.parametrize("held", [(), ("amn-1",)])
def test_a_role_does_not_change_without_its_log(
    models_command: Callable[..., Any], models_dir: Path, held: tuple[str, ...]
) -> None:
    """On a full disk neither the role nor the log changes."""
    for name in held:
        models_command("promote", name).done()
    before = (models_dir.parent / "roles.jsonl").stat().st_size if held else 0
    with files_of_at_most(before + 10):
        result = models_command("promote", "amn-2")
    assert (result.code, "is unchanged" in result.values["error"]["message"]) == (2, True)
    assert role(models_dir) == (held[0] if held else None)
    assert (models_dir.parent / "roles.jsonl").stat().st_size == before


def test_a_damaged_log_stops_changes_only(models_command: Callable[..., Any], models_dir: Path) -> None:
    """The previous model would be a guess; list continues and reports the problem."""
    (models_dir.parent / "roles.jsonl").write_text("rubbish\nrubbish\n", encoding="utf-8")
    result = models_command("promote", "amn-1")
    assert (result.code, "line 1" in result.values["error"]["message"]) == (2, True)
    assert role(models_dir) is None
    assert "line 1" in models_command("list").values["log_problem"]


def test_a_log_that_cannot_be_written_stops_a_promotion(
    models_command: Callable[..., Any], models_dir: Path
) -> None:
    """The error comes before the model is verified."""
    (models_dir.parent / "roles.jsonl").mkdir()
    result = models_command("promote", "amn-1")
    assert (result.code, "roles.jsonl cannot be written" in result.values["error"]["message"]) == (2, True)


@pytest.mark.parametrize(
    "options",
    [
        ("--tolerance", "nan"),
        ("--tolerance", "-0.1"),
        ("--tolerance", "3"),
        ("--sample-rows", "0"),
        ("--dim", "0"),
        ("--role", "boss"),
        ("--models-dir", "s3://bucket/models"),
        ("--models-dir", "/nowhere"),
        ("--data", "/nowhere.parquet"),
    ],
)
def test_options_out_of_range_are_refused(
    lvm_batch: Callable[..., Any], models_dir: Path, options: tuple[str, str]
) -> None:
    """The hint has the accepted values; nothing is written."""
    arguments = ("promote", "amn-1", "--models-dir", models_dir, "--dim", DIM, *options)
    result = lvm_batch("models", *arguments)
    assert (result.code, bool(result.values["error"]["hint"])) == (2, True)
    assert role(models_dir) is None


def test_a_jobs_settings_give_the_registry(
    lvm_batch: Callable[..., Any], models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable and the file that give a run its models folder work here too."""
    config = tmp_path / "nightly.toml"
    config.write_text(f"models_dir = {json.dumps(str(models_dir))}\nmin_margin = 0.1\n", encoding="utf-8")
    assert len(lvm_batch("models", "list", "--config", config).values["models"]) == 4
    monkeypatch.setenv("LVM_BATCH_MODELS", str(models_dir))
    assert len(lvm_batch("models", "list").values["models"]) == 4


def test_a_result_is_printed_in_lines(
    models_dir: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is a line a check with its figure, then the holder of the role; the reason of a failure goes to stderr."""
    options = ["--models-dir", str(models_dir), "--data", str(dataset)]
    assert main(["models", "promote", "amn-1", *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["amn-1", *["ok"] * 5, PRODUCTION]
    assert lines[-1].endswith("there was no previous model")
    assert main(["models", "promote", "worse", *options]) == 3
    printed = capsys.readouterr()
    assert "failed  cosine" in printed.out
    assert printed.out.splitlines()[-1].startswith("production_model is amn-1")
    assert "error: worse fails 1 of 5 checks: cosine" in printed.err
