"""`models promote`: rows that a model has seen, and the gates of a release."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.datasets import write_windows

from lvm_batch.io.bank.bank import build_bank
from lvm_batch.io.dataset.files import find_files
from lvm_batch.jobs.models.seen_rows import MAX_SEEN
from lvm_batch.jobs.registry.verification_options import VerificationOptions
from lvm_batch.lvm import build_model, save_checkpoint
from lvm_batch.lvm.checkpoints.training_vectors import TrainingVectors
from lvm_batch.lvm.registry.role_log import read_role_log

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

DIM, N_ROWS = 16, 400
RANDOM = np.random.default_rng(5)
CONTEXTS = RANDOM.standard_normal((N_ROWS, 5, DIM), dtype=np.float32)
TARGETS = CONTEXTS.mean(axis=1) + 0.6 * RANDOM.standard_normal((N_ROWS, DIM), dtype=np.float32)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that predicts the mean and was trained on a quarter of the rows, rows, and a bank of their vectors."""
    folder = tmp_path_factory.mktemp("gates")
    model = build_model("amn", seed=1, input_dim=DIM, d_model=8, hidden_dim=8)
    model.output_layer.weight.data.mul_(0)
    model.output_layer.bias.data.mul_(0)
    (folder / "models/amn").mkdir(parents=True)
    save_checkpoint(
        folder / "models/amn/best_model.pt",
        model,
        architecture="amn",
        epoch=1,
        val_loss=None,
        val_cosine=None,
        training_vectors=TrainingVectors.of(TARGETS[: N_ROWS // 4]),
    )
    write_windows(folder / "all.parquet", CONTEXTS, TARGETS)
    write_windows(folder / "apart.parquet", CONTEXTS[N_ROWS // 4 :], TARGETS[N_ROWS // 4 :])
    for name, vectors in (("bank", np.concatenate([TARGETS, CONTEXTS[:, -1]])), ("other", -TARGETS)):
        flat = pa.array(vectors.reshape(-1))
        table = pa.table({"vector": pa.FixedSizeListArray.from_arrays(flat, DIM)})
        pq.write_table(table, folder / f"{name}.parquet")
        build_bank(find_files([str(folder / f"{name}.parquet")]), str(folder / name))
    return folder


@pytest.fixture
def promote(lvm_batch: Callable[..., Any], place: Path) -> Callable[..., Any]:
    """Call ``models promote amn`` on rows that the model has not seen; no model has a role before."""

    def call(*arguments: object, data: str = "apart") -> Any:  # noqa: ANN401 - a Result
        (place / "production_model").unlink(missing_ok=True)
        rows = ("--data", place / f"{data}.parquet") if data else ()
        return lvm_batch("models", "promote", "amn", "--models-dir", place / "models", *rows, *arguments)

    return call


def checks_of(result: Any) -> dict[str, dict[str, Any]]:  # noqa: ANN401
    """The checks by name."""
    return {check["name"]: check for check in result.values["checks"]}


def test_a_model_that_has_seen_its_judges_is_refused(promote: Callable[..., Any], place: Path) -> None:
    """A quarter of the rows was in its training: exit 3, the count, and both ways out; a larger share lets it pass."""
    result = promote("--dim", DIM, data="all")
    check = checks_of(result)["unseen rows"]
    assert (result.code, check["passed"], result.values["changed"]) == (3, False, False)
    assert check["figure"] == pytest.approx(0.25, abs=0.02)
    assert "100 of 400 rows" in check["found"]
    assert "--data" in check["found"]
    assert "--max-seen" in check["found"]
    assert result.values["seen"]["trained_on"] == 100
    assert not (place / "production_model").exists()
    assert promote("--dim", DIM, "--max-seen", 0.3, data="all").code == 0


def test_a_model_that_has_not_seen_its_judges_passes(promote: Callable[..., Any], place: Path) -> None:
    """The check passes, and the registry's log keeps how many rows it had seen."""
    result = promote("--dim", DIM)
    assert (result.code, checks_of(result)["unseen rows"]["passed"]) == (0, True)
    assert read_role_log(place / "models")[-1].seen == result.values["seen"]
    assert result.values["seen"]["seen"] <= 2
    assert VerificationOptions().max_seen == MAX_SEEN


def test_a_model_says_how_many_vectors_it_was_trained_on(lvm_batch: Callable[..., Any], place: Path) -> None:
    """The number comes from the digest in its checkpoint."""
    assert lvm_batch("models", "show", "amn", "--models-dir", place / "models").values["trained_on"] == 100


def test_gates_are_judged_by_the_figures_of_an_evaluation(
    promote: Callable[..., Any], lvm_batch: Callable[..., Any], place: Path
) -> None:
    """R@5, MRR and Contain@50 are those of evaluate on the same rows; a gate above one of them fails with 3.

    The bank holds vectors of the rows' own contexts too, so that both must treat these alike.
    """
    judged = lvm_batch(
        "evaluate", place / "apart.parquet", "--model", place / "models/amn", "--bank", place / "bank"
    ).values["models"][0]["retrieval"]
    names = {"R@5": "recall_at_5", "MRR": "mrr", "Contain@50": "contain_at_50"}
    options = {name: f"--min-{column.replace('_', '-')}" for name, column in names.items()}
    assert 0.01 < judged["mrr"] < 0.99
    low = [text for name in names for text in (options[name], judged[names[name]] - 0.005)]
    passed = promote("--bank", place / "bank", *low)
    assert passed.code == 0
    found = checks_of(passed)
    assert {name: found[name]["figure"] for name in names} == pytest.approx(
        {name: judged[column] for name, column in names.items()}
    )
    assert read_role_log(place / "models")[-1].retrieval == passed.values["retrieval"]
    failed = promote("--bank", place / "bank", *low, "--min-mrr", judged["mrr"] + 0.005)
    assert failed.code == 3
    assert [name for name, check in checks_of(failed).items() if not check["passed"]] == ["MRR"]


def test_gates_are_judged_of_a_model_that_has_the_role_too(
    promote: Callable[..., Any], lvm_batch: Callable[..., Any], place: Path
) -> None:
    """Promoting it again with a gate that it fails exits with 3; the role stays where it is."""
    promote("--dim", DIM).done()
    options = ("--models-dir", place / "models", "--data", place / "apart.parquet", "--bank", place / "bank")
    again = lvm_batch("models", "promote", "amn", *options, "--min-mrr", 1)
    assert (again.code, again.values["changed"]) == (3, False)
    assert (place / "production_model").is_symlink()


@pytest.mark.parametrize(
    ("arguments", "data", "message"),
    [
        (("--min-mrr", 0.2), "apart", "there is no bank"),
        (("--min-recall-at-5", 0.3, "--bank", "bank"), "", "there are no rows"),
        (("--min-contain-at-50", 1.5, "--bank", "bank"), "apart", "--min-contain-at-50 cannot be 1.5"),
        (("--bank", "bank"), "apart", "--bank needs a gate"),
        (("--min-mrr", 0.2, "--bank", "other"), "apart", "holds no target of 300 windows"),
        (("--max-seen", "nan"), "apart", "--max-seen cannot be nan"),
    ],
)
def test_a_gate_without_its_figures_is_refused(
    promote: Callable[..., Any], place: Path, arguments: tuple[object, ...], data: str, message: str
) -> None:
    """The error names the option and the way out, and no role changes."""
    given = [place / each if each in {"bank", "other"} else each for each in arguments]
    result = promote(*given, data=data)
    error = result.values["error"]
    assert (result.code, message in json.dumps(error)) == (2, True)
    assert error["hint"]
    assert not (place / "production_model").exists()
