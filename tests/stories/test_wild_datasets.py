"""For datasets as found in the wild, the second command works as pasted from the first one's output.

The rule: a dataset goes through ``inspect`` and the commands that it shows, word for word, until a run is done; rows,
order and predictions are those of a direct computation from the documents that the dataset was made of.
"""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from support import reference
from support.wild.arrays import ARRAYS, json_lines, npz
from support.wild.checking import check_output
from support.wild.contexts import CONTEXTS
from support.wild.doubtful import UNUSABLE, two_vectors
from support.wild.folders import FOLDERS, file_per_document, hugging_face, uuid_shards
from support.wild.names import NAMES
from support.wild.pasting import Printed, commands_in, names_of, pasted_until_run, story_of, the_run, typed
from support.wild.tables import TABLES, id_text_embedding, polars_array

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.wild.doubtful import Unusable
    from support.wild.truth import Wild

    ModelFor = Callable[[Wild], Path]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def made_models() -> dict[tuple[int, int], Path]:
    """The models folders made so far, by the width of the vectors and the length of the contexts."""
    return {}


@pytest.fixture
def here(tmp_path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the newcomer works: an empty folder ``work``, beside ``data``; runs take the shared cluster."""
    monkeypatch.setattr("lvm_batch.jobs.reports.report_writer.write_report", lambda *_, **__: None)
    monkeypatch.setenv("LVM_BATCH_SCHEDULER", scheduler)
    for name in ("data", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


@pytest.fixture
def model_for(
    made_models: dict[tuple[int, int], Path],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> ModelFor:
    """Point the environment to a models folder whose one model fits a dataset and has a role; return its checkpoint."""

    def point(dataset: Wild) -> Path:
        key = dataset.dim, dataset.length
        if key not in made_models:
            made_models[key] = tmp_path_factory.mktemp("lvm") / "models"
            _write_model(made_models[key], *key)
        monkeypatch.setenv("LVM_BATCH_MODELS", str(made_models[key]))
        return made_models[key] / "amn/best_model.pt"

    return point


def _write_model(folder: Path, dim: int, length: int) -> None:
    from lvm_batch.lvm import save_checkpoint
    from lvm_batch.lvm.architectures.catalog import build_model

    (folder / "amn").mkdir(parents=True)
    (folder.parent / "production_model").symlink_to("models/amn")
    model = build_model("amn", seed=3, input_dim=dim, d_model=16, hidden_dim=16)
    facts = {"epoch": 1, "val_loss": None, "val_cosine": None, "args": {"context_length": length}}
    save_checkpoint(folder / "amn/best_model.pt", model, architecture="amn", **facts)


def inspected(arguments: str) -> Printed:
    """The first command, which always answers."""
    first = typed(f"lvm-batch inspect {arguments}")
    assert first.code == 0, first.ended
    return first


@pytest.mark.parametrize(
    "maker", [*TABLES, *NAMES, *FOLDERS, *ARRAYS, *CONTEXTS], ids=lambda maker: maker.__name__
)
def test_what_inspect_shows_can_be_pasted(
    maker: Callable[[Path], Wild], here: Path, model_for: ModelFor
) -> None:
    """Every pasted command exits with 0, and the run's output is that of the direct computation.

    Datasets that are walked through by another test below are not among these.
    """
    dataset = maker(here / "data")
    checkpoint = model_for(dataset)
    done = pasted_until_run(inspected(f"'{dataset.dataset}'"))
    assert "train" not in names_of(done), f"a model fits\n{story_of(done)}"
    check_output(dataset, done, checkpoint)


@pytest.mark.parametrize("maker", [uuid_shards, json_lines], ids=lambda maker: maker.__name__)
def test_json_has_the_same_commands(
    maker: Callable[[Path], Wild], here: Path, model_for: ModelFor, lvm_batch: Callable[..., Any]
) -> None:
    """A program that reads `inspect --json` gets the commands that a person sees."""
    dataset = maker(here / "data")
    model_for(dataset)
    commands = lvm_batch("inspect", dataset.dataset).done()["commands"]
    shown = commands_in(inspected(f"'{dataset.dataset}'").out)
    assert [command["command"] for command in commands] == shown


def test_two_columns_of_vectors_are_a_choice(here: Path, model_for: ModelFor) -> None:
    """Run refuses and inspect says so, both with the option for each column; with it, inspect's commands take it."""
    dataset = two_vectors(here / "data")
    checkpoint = model_for(dataset)
    refused = typed(f"lvm-batch run '{dataset.dataset}' --output refused")
    assert refused.code == 2, refused.ended
    first = inspected(f"'{dataset.dataset}'")
    for printed in (refused, first):
        shown = " ".join((printed.out + printed.err).split())
        for name in ("title_embedding", "body_embedding"):
            assert f"--vector-column {name}" in shown, printed.ended
    chosen = inspected(f"'{dataset.dataset}' --vector-column body_embedding")
    check_output(dataset, pasted_until_run(chosen), checkpoint)


@pytest.mark.parametrize("maker", UNUSABLE, ids=lambda maker: maker.__name__)
def test_inspect_answers_what_cannot_be_run(maker: Callable[[Path], Unusable], here: Path) -> None:
    """It names what is there; a run of the same is one refusal, and neither shows a traceback."""
    unusable = maker(here / "data")
    first = typed(f"lvm-batch inspect '{unusable.dataset}'")
    run = typed(f"lvm-batch run '{unusable.dataset}' --output out")
    assert run.code == 2, run.ended
    assert not (here / "work/out").exists()
    for printed in (first, run):
        assert "Traceback" not in printed.err, printed.ended
    for name in unusable.named:
        assert name in first.out + first.err, first.ended


@pytest.mark.parametrize("maker", [hugging_face, id_text_embedding], ids=lambda maker: maker.__name__)
def test_the_way_without_a_model_can_be_pasted(
    maker: Callable[[Path], Wild], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No weights ship: inspect shows how to train on the data itself, also if that is one article, and to run then."""
    monkeypatch.setenv("LVM_BATCH_EPOCHS", "1")
    dataset = maker(here / "data")
    done = pasted_until_run(inspected(f"'{dataset.dataset}'"))
    assert names_of(done)[:4] == ["inspect", "train", "bank", "run"]
    (checkpoint,) = (here / "work").rglob("best_model.pt")
    check_output(dataset, done, checkpoint)


def test_the_model_that_fits_is_in_the_command(
    here: Path, model_for: ModelFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several models without a role, the command names the one whose width is the data's."""
    dataset = id_text_embedding(here / "data")
    for dim in (dataset.dim, 2 * dataset.dim):
        model = model_for(replace(dataset, dim=dim))
        (here / "work/artifacts/lvm/models" / f"amn-{dim}").mkdir(parents=True)
        shutil.copy(model, here / "work/artifacts/lvm/models" / f"amn-{dim}")
    monkeypatch.delenv("LVM_BATCH_MODELS")
    done = pasted_until_run(inspected(f"'{dataset.dataset}'"))
    assert f"amn-{dataset.dim}" in the_run(done).command
    check_output(dataset, done, here / f"work/artifacts/lvm/models/amn-{dataset.dim}/best_model.pt")


def test_outputs_lie_outside_the_dataset(
    here: Path, model_for: ModelFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Called from inside the dataset's folder, the commands write beside it, and the dataset stays as it is."""
    dataset = file_per_document(here / "data")
    before = sorted((here / "data").rglob("*"))
    checkpoint = model_for(dataset)
    monkeypatch.chdir(here / "data")
    check_output(dataset, pasted_until_run(inspected(".")), checkpoint)
    assert sorted((here / "data").rglob("*")) == before


def test_a_bank_of_other_vectors_is_not_taken(here: Path, model_for: ModelFor) -> None:
    """Confidence is measured against the dataset's own vectors, not against a bank that happens to be as wide."""
    (here / "data/other").mkdir()
    other = polars_array(here / "data/other")
    built = typed(f"lvm-batch bank build '{other.dataset}' --output other-bank")
    assert built.code == 0, built.ended
    dataset = file_per_document(here / "data")
    checkpoint = model_for(dataset)
    done = pasted_until_run(inspected(f"'{here}/data/book *.parquet'"))
    assert "other-bank" not in the_run(done).command, story_of(done)
    check_output(dataset, done, checkpoint)


@pytest.mark.parametrize("maker", [json_lines, npz], ids=lambda maker: maker.__name__)
def test_what_pack_shows_can_be_pasted(
    maker: Callable[[Path], Wild], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who begins with `pack` gets commands that work, too, also where rows are in no order."""
    monkeypatch.setenv("LVM_BATCH_EPOCHS", "1")
    dataset = maker(here / "data")
    done = pasted_until_run(typed(f"lvm-batch pack '{dataset.dataset}' --output packed"))
    (checkpoint,) = (here / "work").rglob("best_model.pt")
    check_output(dataset, done, checkpoint)


def _swap(rows: list[dict[str, Any]]) -> None:
    rows[7], rows[8] = rows[8], rows[7]


def _turn(rows: list[dict[str, Any]]) -> None:
    rows[9]["prediction"] = rows[10]["prediction"]


SPOILED = {
    "lost": lambda rows: rows.pop(4),
    "twice": lambda rows: rows.insert(4, rows[4]),
    "swapped": _swap,
    "turned": _turn,
    "judged": lambda rows: rows[9].update(cosine=None),
    "short": lambda rows: rows[9].update(status="short_context"),
}


@pytest.mark.parametrize("spoiled", [None, *SPOILED])
def test_the_check_finds_what_is_wrong(spoiled: str | None, here: Path, model_for: ModelFor) -> None:
    """The right output passes; one in which a single row is lost, moved or wrong does not."""
    dataset = id_text_embedding(here / "data")
    checkpoint = model_for(dataset)
    rows = _right_rows(dataset, torch.load(checkpoint, weights_only=True)["model_state_dict"])
    if spoiled:
        SPOILED[spoiled](rows)
    (here / "work/out").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), here / "work/out/a.parquet")
    run = Printed("lvm-batch run data --output out", 0, "", "")
    with nullcontext() if spoiled is None else pytest.raises(AssertionError):
        check_output(dataset, [run], checkpoint)


def _right_rows(dataset: Wild, weights: reference.Weights) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for text in dataset.rows:
        answer = dataset.answers[text]
        prediction, cosine = np.full(dataset.dim, np.nan, np.float32), None
        if answer.context is not None:
            prediction = reference.amn(weights, answer.context[None])[0]
        if answer.target is not None:
            cosine = reference.cosines(prediction[None], answer.target[None])[0]
        rows.append({"text": text, "status": answer.status, "prediction": prediction, "cosine": cosine})
    return rows
