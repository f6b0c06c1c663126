"""`lvm-batch evaluate`: its figures against a plain computation, and what it refuses."""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from support.command import called

from lvm_batch.io.bank.bank import build_bank
from lvm_batch.io.dataset.files import find_files
from lvm_batch.jobs.cli import main
from lvm_batch.jobs.evaluation import judged_models as evaluated_models
from lvm_batch.jobs.evaluation.judged_rows import JudgedDataset
from lvm_batch.jobs.settings.evaluate import EvaluateSettings
from lvm_batch.lvm import build_model, save_checkpoint
from lvm_batch.lvm.training.ridge import RidgeSums

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

pytestmark = pytest.mark.slow

DIM, LENGTH = 12, 5
ARTICLES = np.repeat(np.arange(12), 30)
VECTORS = np.random.default_rng(0).standard_normal((len(ARTICLES), DIM)).astype(np.float32)
VECTORS += 2 * np.random.default_rng(1).standard_normal((12, DIM)).astype(np.float32)[ARTICLES]
LAST = np.array([row for row in range(LENGTH - 1, len(ARTICLES) - 1) if row % 30 in range(LENGTH - 1, 29)])
CONTEXTS = VECTORS[LAST[:, None] + np.arange(1 - LENGTH, 1)]
TARGETS = VECTORS[LAST + 1]
SPLITS = np.where(ARTICLES[LAST] < 8, "in_dist", "ood")
LANES = np.array(["law", "sport", "music"])[ARTICLES[LAST] % 3]


def lists(rows: np.ndarray) -> pa.Array:
    """A fixed-size list array with the values of each row."""
    flat = np.ascontiguousarray(rows, np.float32).reshape(len(rows), -1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), flat.shape[1])


def write_windows(path: Path, *, leave_out: tuple[str, ...] = (), **columns: object) -> Path:
    """All windows as a dataset of windows, with further columns or without some."""
    table = {
        "context": lists(CONTEXTS),
        "target": lists(TARGETS),
        "article_id": ARTICLES[LAST],
        "split": SPLITS,
        "lane": LANES,
        "status": LANES,  # the name of an output column
    }
    table = {name: column for name, column in (table | columns).items() if name not in leave_out}
    pq.write_table(pa.table(table), path, row_group_size=70)
    return path


def write_model(path: Path, architecture: str, *, seed: int, scale: float = 1, **dimensions: int) -> Path:
    """Write a checkpoint with fresh weights."""
    model = build_model(architecture, seed=seed, **{"input_dim": DIM, "d_model": 8} | dimensions)
    with torch.no_grad():
        model.output_layer.weight.mul_(scale)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(path, model, architecture=architecture, epoch=1, val_loss=None, val_cosine=None)
    return path


@pytest.fixture(autouse=True)
def _few_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time a few queries only: no test checks how long they take."""
    monkeypatch.setattr(evaluated_models, "QUERIES", 5)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a registry of three models, the same rows in both layouts, and a bank of most vectors."""
    folder = tmp_path_factory.mktemp("evaluate")
    for seed, (name, architecture) in enumerate({"first": "amn", "second": "amn", "third": "gru"}.items()):
        write_model(folder / f"models/{name}/best_model.pt", architecture, seed=seed)
    (folder / "production_model").symlink_to("models/first")
    (folder / "fallback_model").symlink_to("models/third")
    sequences = {"vector": lists(VECTORS), "article_id": ARTICLES, "position": np.arange(len(ARTICLES))}
    pq.write_table(pa.table(sequences), folder / "sequences.parquet", row_group_size=100)
    pq.write_table(pa.table({"vector": lists(VECTORS[:300])}), folder / "bank.parquet")
    build_bank(find_files([str(folder / "bank.parquet")]), str(folder / "bank"))
    write_windows(folder / "windows.parquet")
    return folder


@pytest.fixture(scope="module")
def judged(place: Path) -> dict[str, Any]:
    """The values of one evaluation of three models over the windows, with a bank and an output."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluated_models, "QUERIES", 5)
        return called("evaluate", *arguments(place)).done()


def arguments(place: Path) -> list[str]:
    """The arguments of that evaluation."""
    models = [text for name in ("first", "second", "third") for text in ("--model", name)]
    files = {"--models-dir": "models", "--bank": "bank", "--output": "out"}
    return [
        str(place / "windows.parquet"),
        *models,
        *(text for flag, name in files.items() for text in (flag, str(place / name))),
    ]


def cosines(predictions: np.ndarray, targets: np.ndarray = TARGETS) -> np.ndarray:
    """The cosine of each row."""
    norms = np.linalg.norm(predictions, axis=1) * np.linalg.norm(targets, axis=1)
    return (predictions.astype(np.float64) * targets).sum(axis=1) / norms


def model_cosines(seed: int, architecture: str) -> np.ndarray:
    """The cosines of a fresh model, by its published forward pass."""
    model = build_model(architecture, seed=seed, input_dim=DIM, d_model=8).eval()
    with torch.inference_mode():
        return cosines(model(torch.from_numpy(CONTEXTS)).numpy())


def ridge_cosines(folds: np.ndarray) -> np.ndarray:
    """The cosines of ridge regression, each row predicted by the fit to the other folds."""
    predictions = np.empty_like(TARGETS)
    for fold in np.unique(folds):
        sums = RidgeSums(LENGTH, DIM)
        sums.add(CONTEXTS[folds != fold], TARGETS[folds != fold])
        predictions[folds == fold] = sums.solve()(CONTEXTS[folds == fold])
    return cosines(predictions)


@cache
def expected_cosines() -> dict[str, np.ndarray]:
    """The expected cosines of every model and baseline."""
    return {
        "first": model_cosines(0, "amn"),
        "second": model_cosines(1, "amn"),
        "third": model_cosines(2, "gru"),
        "mean of context": cosines(CONTEXTS.mean(axis=1)),
        "last vector": cosines(CONTEXTS[:, -1]),
        "ridge": ridge_cosines(ARTICLES[LAST] % 5),
    }


def by_name(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The figures of each model and baseline."""
    return {entry["name"]: entry for entry in (*values["models"], *values["baselines"])}


def test_cosines_are_those_of_the_forward_pass(judged: dict[str, Any]) -> None:
    """Mean, deviation and squared error of every model and baseline equal the plain computation over all rows."""
    figures = by_name(judged)
    expected = expected_cosines()
    assert list(figures) == list(expected)
    for name, values in expected.items():
        assert figures[name]["cosine"] == pytest.approx(values.mean(), abs=1e-6), name
        assert figures[name]["std"] == pytest.approx(values.std(), abs=1e-6)
        assert figures[name]["mse"] == pytest.approx(2 * (1 - values.mean()) / DIM, abs=1e-6)
        assert (figures[name]["rows"], figures[name]["without_cosine"]) == (len(LAST), 0)


def test_splits_and_lanes_have_figures_of_their_own(judged: dict[str, Any]) -> None:
    """Each group's mean is over its rows, and the delta is the mean out of distribution minus the one within."""
    results = by_name(judged)
    for name, values in expected_cosines().items():
        splits = {split: values[split == SPLITS].mean() for split in ("in_dist", "ood")}
        assert {
            split: figures["cosine"] for split, figures in results[name]["by_split"].items()
        } == pytest.approx(splits, abs=1e-6)
        assert results[name]["delta"]["cosine"] == pytest.approx(splits["ood"] - splits["in_dist"], abs=1e-6)
        lanes = {lane: values[lane == LANES].mean() for lane in ("law", "sport", "music")}
        assert {
            lane: figures["cosine"] for lane, figures in results[name]["by_lane"].items()
        } == pytest.approx(lanes, abs=1e-6)
        assert results[name]["by_lane"]["law"]["rows"] == (LANES == "law").sum()


def test_intervals_are_of_whole_articles_drawn_again(judged: dict[str, Any]) -> None:
    """Each mean, the delta, and a model's gain over the context's mean have intervals from the same samples."""
    first, mean = (expected_cosines()[name] for name in ("first", "mean of context"))
    sums = np.array(
        [
            [values[rows & (ARTICLES[LAST] == article)].sum() for article in range(12)]
            for values in (first, first - mean, np.ones_like(first))
            for rows in (SPLITS == "in_dist", SPLITS == "ood")
        ]
    )
    drawn = np.random.default_rng(0).multinomial(12, [1 / 12] * 12, size=1000)
    cosine_in, cosine_ood, over_in, over_ood, n_in, n_ood = sums @ drawn.T
    figures = by_name(judged)["first"]
    n_rows = n_in + n_ood
    both = (n_in > 0) & (n_ood > 0)
    for samples, interval in (
        ((cosine_in + cosine_ood) / n_rows, figures["interval"]),
        ((over_in + over_ood) / n_rows, figures["over_mean"]["interval"]),
        ((cosine_ood[both] / n_ood[both] - cosine_in[both] / n_in[both]), figures["delta"]["interval"]),
    ):
        assert interval == pytest.approx(np.percentile(samples, [2.5, 97.5]), abs=1e-6)
    assert figures["over_mean"]["cosine"] == pytest.approx((first - mean).mean(), abs=1e-6)
    assert judged["bootstrap"] == {"of": "articles", "resamples": 1000, "seed": 0, "confidence": 0.95}


def test_retrieval_is_over_rows_whose_target_the_bank_holds(judged: dict[str, Any]) -> None:
    """Recall, reciprocal rank and containment of a baseline equal those from sorting the whole bank."""
    bank = VECTORS[:300] / np.linalg.norm(VECTORS[:300], axis=1, keepdims=True)
    known = LAST + 1 < 300
    scores = CONTEXTS[known].mean(axis=1) @ bank.T
    scores[np.arange(known.sum())[:, None], LAST[known][:, None] - np.arange(5)] = -np.inf  # its own context
    own = scores[np.arange(known.sum()), LAST[known] + 1]
    ranks = (scores >= own[:, None]).sum(axis=1)
    assert judged["bank"]["rows"] == known.sum() < len(LAST)
    assert by_name(judged)["mean of context"]["retrieval"] == pytest.approx(
        {
            "rows": known.sum(),
            **{f"recall_at_{depth}": (ranks <= depth).mean() for depth in (1, 5, 10)},
            "mrr": (1 / ranks).mean(),
            "contain_at_50": (ranks <= 50).mean(),
        }
    )
    assert by_name(judged)["ridge"]["retrieval"]["rows"] == known.sum()


def test_both_layouts_are_judged_alike(
    judged: dict[str, Any], place: Path, lvm_batch: Callable[..., Any]
) -> None:
    """The same rows as sequences have the same figures; rows without a whole context or a target are left out."""
    values = lvm_batch("evaluate", place / "sequences.parquet", "--models-dir", place / "models").values
    assert values["rows"] == {
        "read": 360,
        "judged": 300,
        "left_out": {"short_context": 48, "no_target": 12},
        "articles": 12,
        "by_split": {},
    }
    assert [model["name"] for model in values["models"]] == ["first", "third"]  # the holders of the roles
    of_windows = by_name(judged)
    for name, figures in by_name(values).items():
        for figure in ("cosine", "std", "interval"):
            assert figures[figure] == pytest.approx(of_windows[name][figure], abs=1e-6), name
        assert (figures["by_split"], figures["delta"], figures["by_lane"], figures["retrieval"]) == (
            {},
            None,
            {},
            None,
        )
    assert [entry["recommendation"] for entry in values["leaderboard"]] == [None, None]


def test_what_a_query_takes_is_told_of_every_model(judged: dict[str, Any]) -> None:
    """Time, rate and memory are those of one thread; the rate follows from the mean."""
    for model in judged["models"]:
        mean = model["latency_ms"]["mean"]
        assert model["queries_per_s"] == pytest.approx(1000 / mean, abs=0.1)
        assert model["memory_mb"] is None or 0 <= model["memory_mb"] < 100


def test_the_leaderboard_follows_its_rule(judged: dict[str, Any]) -> None:
    """The fastest model within 0.005 of the best out of distribution is primary, the next in distribution fallback."""
    board = {entry["model"]: entry for entry in judged["leaderboard"]}
    highest = max(entry["ood"] for entry in board.values())
    near = [name for name, entry in board.items() if entry["ood"] >= highest - 0.005]
    primary = min(near, key=lambda name: board[name]["p50_ms"])
    fallback = max(board.keys() - {primary}, key=lambda name: board[name]["in_dist"])
    assert {name: entry["recommendation"] for name, entry in board.items()} == {
        **dict.fromkeys(board, "archived"),
        primary: "primary",
        fallback: "fallback",
    }
    fewest = min(entry["parameters"] for entry in board.values())
    assert {name for name, entry in board.items() if "parameters" in entry["best"]} == {
        name for name, entry in board.items() if entry["parameters"] == fewest
    }
    assert (board["third"]["published"]["name"], board["third"]["published"]["in_dist_cosine"]) == (
        "GRU_v0",
        0.592,
    )


def test_the_tables_fit_a_terminal(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines without a path stay within 80 columns; the cards' figures are shown, and the best is marked."""
    assert main(["evaluate", *arguments(place)[:-2]]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if str(place) not in line) <= 80
    text = "\n".join(lines)
    for expected in (
        "by split",
        "difference",
        "by lane",
        "R@1",
        "Contain@50",
        "card: AMN",
        "Fallback (accuracy)",
        "*",
    ):
        assert expected in text


def test_the_output_holds_values_table_and_figures(judged: dict[str, Any], place: Path) -> None:
    """The JSON equals the printed one, the table names models and cards, and the same data draws the same bytes."""
    out = place / "out"
    assert json.loads((out / "evaluation.json").read_text()).keys() == judged.keys()
    board = (out / "leaderboard.md").read_text()
    assert "| first |" in board
    assert "card: GRU_v0 | 0.5920 |" in board
    figures = {path.name: path.read_bytes() for path in out.glob("*.svg")}
    assert sorted(figures) == ["cosines.svg", "groups.svg", "retrieval.svg"]
    with redirect_stdout(StringIO()):
        assert main(["evaluate", *arguments(place), "--json"]) == 0
    assert {path.name: path.read_bytes() for path in out.glob("*.svg")} == figures


def test_without_articles_rows_are_drawn_one_by_one(
    place: Path, lvm_batch: Callable[..., Any], tmp_path: Path
) -> None:
    """Rows are then drawn one by one, a ridge leaves out runs of rows, and notices say both."""
    path = write_windows(tmp_path / "w.parquet", leave_out=("article_id", "lane"))
    values = lvm_batch("evaluate", path, "--model", place / "models/first").values
    assert (values["bootstrap"]["of"], values["rows"]["articles"]) == ("rows", None)
    assert any("`article_id`" in notice for notice in values["notices"])
    expected = ridge_cosines(np.arange(len(LAST)) * 5 // len(LAST)).mean()
    assert by_name(values)["ridge"]["cosine"] == pytest.approx(expected, abs=1e-6)


def test_one_null_article_makes_all_rows_be_drawn_one_by_one(
    place: Path, lvm_batch: Callable[..., Any], tmp_path: Path
) -> None:
    """That row may be of any article, so no article can be drawn or left out whole."""
    ids = pa.array([None, *ARTICLES[LAST][1:].tolist()])
    values = lvm_batch(
        "evaluate",
        write_windows(tmp_path / "w.parquet", article_id=ids),
        "--model",
        place / "models/first",
    ).values
    assert (values["bootstrap"]["of"], values["rows"]["articles"]) == ("rows", None)
    assert any("some rows have no article in a column `article_id`" in notice for notice in values["notices"])
    expected = ridge_cosines(np.arange(len(LAST)) * 5 // len(LAST)).mean()
    assert by_name(values)["ridge"]["cosine"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ["mean of context", "last vector", "ridge"])
def test_a_model_that_is_called_as_a_baseline_keeps_its_figures(
    place: Path,
    lvm_batch: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """The result names such a model by its path, be it in the registry, a file, or in the current folder."""
    monkeypatch.chdir(tmp_path)
    for path in (f"models/{name}/best_model.pt", f"{name}.pt", name):
        if path == name:
            (tmp_path / f"{name}.pt").rename(tmp_path / name)
        else:
            write_model(tmp_path / path, "amn", seed=1)
        model_name = path.removesuffix("/best_model.pt")
        values = lvm_batch("evaluate", place / "windows.parquet", "--model", model_name).values
        (model,) = values["models"]
        assert model["cosine"] == pytest.approx(model_cosines(1, "amn").mean(), abs=1e-6)
        assert model["name"] not in {each["name"] for each in values["baselines"]}


def test_one_article_has_neither_ridge_nor_intervals(
    place: Path, lvm_batch: Callable[..., Any], tmp_path: Path
) -> None:
    """Figures that need a second article are missing, and the result says why."""
    path = write_windows(tmp_path / "w.parquet", article_id=["only"] * len(LAST))
    values = lvm_batch("evaluate", path, "--model", place / "models/first").values
    assert [baseline["name"] for baseline in values["baselines"]] == ["mean of context", "last vector"]
    assert values["models"][0]["interval"] is None
    assert any("ridge regression is left out" in notice for notice in values["notices"])


def test_predictions_without_a_cosine_are_counted(
    place: Path, lvm_batch: Callable[..., Any], tmp_path: Path
) -> None:
    """A model whose predictions overflow has no figures rather than wrong ones; rows and other models keep theirs."""
    broken = write_model(tmp_path / "broken.pt", "amn", seed=0, scale=3e38)
    values = lvm_batch(
        "evaluate", place / "windows.parquet", "--model", broken, "--model", place / "models/third",
        "--bank", place / "bank", "--output", tmp_path / "out",
    ).values  # fmt: skip
    figures = by_name(values)
    assert figures["broken"]["without_cosine"] == figures["broken"]["rows"] == len(LAST)
    assert (figures["broken"]["cosine"], figures["broken"]["mse"], figures["broken"]["interval"]) == (
        None,
    ) * 3
    assert figures["broken"]["retrieval"]["contain_at_50"] == 0
    assert figures["third"]["cosine"] == pytest.approx(model_cosines(2, "gru").mean(), abs=1e-6)
    assert any("have no cosine" in notice and "broken" in notice for notice in values["notices"])
    assert {entry["recommendation"] for entry in values["leaderboard"]} == {None}


def test_longer_contexts_are_judged_as_such(place: Path, lvm_batch: Callable[..., Any]) -> None:
    """The context length says how many vectors a model reads; a longer context leaves fewer windows."""
    result = lvm_batch(
        "evaluate", place / "sequences.parquet", "--model", place / "models/first", "--context-length", 8
    )
    assert result.values["rows"]["judged"] == 12 * (30 - 8)
    assert result.values["context_length"] == 8


def test_a_model_that_reads_shorter_contexts_is_refused(
    place: Path, lvm_batch: Callable[..., Any], tmp_path: Path
) -> None:
    """The error names the model and the number of vectors it reads, before a row is read."""
    mixer = write_model(tmp_path / "mixer.pt", "amn-mixer", seed=0, output_dim=DIM, num_heads=2)
    result = lvm_batch("evaluate", place / "sequences.parquet", "--model", mixer, "--context-length", 8)
    assert result.code == 2
    assert result.values["error"]["message"] == (
        f"{mixer}: a context of 8 vectors; this amn-mixer reads at most 5"
    )


def test_models_of_other_vectors_are_refused(
    place: Path, lvm_batch: Callable[..., Any], tmp_path: Path
) -> None:
    """Models are refused if their vectors' width differs from each other's, the bank's or the dataset's."""
    wide = write_model(tmp_path / "wide.pt", "amn", seed=0, input_dim=16)
    windows, narrow = place / "windows.parquet", place / "models/first"
    for options, message in (
        (("--model", narrow, "--model", wide), "reads vectors of 16"),
        (("--model", wide, "--bank", place / "bank"), "bank holds vectors of 12 components, but the model"),
        (("--model", wide), "column `context` holds vectors of 12 components, but the model"),
    ):
        result = lvm_batch("evaluate", windows, *options)
        problems = result.values["error"].get("problems", [result.values["error"]])
        assert (result.code, any(message in each["message"] for each in problems)) == (2, True), result.values


def test_missing_models_are_named(place: Path, lvm_batch: Callable[..., Any], tmp_path: Path) -> None:
    """All missing models are named at once; so are one named twice, and a registry without roles if none is named."""
    command = ("evaluate", place / "windows.parquet", "--models-dir", place / "models")
    two = lvm_batch(*command, "--model", "frist", "--model", "gone")
    messages = [problem["message"] for problem in two.values["error"]["problems"]]
    assert [message.split(":")[0] for message in messages] == ["no model 'frist'", "no model 'gone'"]
    twice = lvm_batch(*command, "--model", "first", "--model", "first")
    assert "twice" in twice.values["error"]["message"]
    none = lvm_batch("evaluate", place / "windows.parquet", "--models-dir", tmp_path / "models")
    assert "no model to judge" in none.values["error"]["message"]
    assert (two.code, twice.code, none.code) == (2, 2, 2)


def test_a_dataset_without_targets_is_refused(
    place: Path, lvm_batch: Callable[..., Any], tmp_path: Path
) -> None:
    """A dataset without the target column is refused, and one whose targets are all unusable."""
    without = write_windows(tmp_path / "a.parquet", leave_out=("target",))
    unusable = write_windows(tmp_path / "b.parquet", target=lists(np.zeros_like(TARGETS)))
    for path, message in (
        (without, f"{without} has no `target` column, so predictions cannot be judged"),
        (unusable, "none of 300 rows can be used to judge models: 300 no_target"),
    ):
        result = lvm_batch("evaluate", path, "--model", place / "models/first")
        assert (result.code, result.values["error"]["message"]) == (2, message)
        assert result.values["error"]["hint"]


def test_a_split_of_another_name_is_refused(
    place: Path, lvm_batch: Callable[..., Any], tmp_path: Path
) -> None:
    """The error names the file, the row and the value; another column can be used, or none."""
    splits = SPLITS.astype(object)
    splits[[7, 90]] = None, "train"
    path = write_windows(tmp_path / "w.parquet", split=splits)
    command = ("evaluate", path, "--model", place / "models/first")
    result = lvm_batch(*command)
    assert result.code == 2
    assert result.values["error"]["message"] == f"{path}: row 90 has the split 'train'"
    assert lvm_batch(*command, "--split-column", "none").values["rows"]["by_split"] == {}


def test_options_of_a_calibration_are_refused_without_it(place: Path, lvm_batch: Callable[..., Any]) -> None:
    """An option such as --fallback without --calibrate is refused rather than ignored."""
    result = lvm_batch("evaluate", place / "windows.parquet", "--fallback", place / "models/third")
    assert result.code == 2
    assert "--fallback needs --calibrate" in result.values["error"]["message"]


def test_an_output_elsewhere_is_refused_at_once(place: Path, lvm_batch: Callable[..., Any]) -> None:
    """Figures are written to a local folder; the error names a remote address, or a file in the folder's place."""
    for output in ("s3://bucket/out", place / "windows.parquet"):
        options = ("--model", place / "models/first", "--output", output)
        result = lvm_batch("evaluate", place / "windows.parquet", *options)
        assert (result.code, result.values["error"]["kind"]) == (2, "output")


def test_batches_are_copies_with_article_numbers(place: Path, tmp_path: Path) -> None:
    """Batches stay valid after the next one is read; an article has one number across all files."""
    path = write_windows(tmp_path / "w.parquet", context_tokens=np.arange(len(LAST)))
    settings = EvaluateSettings(dataset=(str(path), str(place / "windows.parquet")))
    batches = list(JudgedDataset(settings, dim=DIM))
    assert sum(rows.n_read for rows in batches) == 2 * len(LAST)
    contexts = np.concatenate([rows.contexts for rows in batches])
    np.testing.assert_array_equal(contexts, np.concatenate([CONTEXTS, CONTEXTS]))
    articles = np.concatenate([rows.articles for rows in batches if rows.articles is not None])
    np.testing.assert_array_equal(articles, np.tile(ARTICLES[LAST], 2))
    tokens = np.concatenate([rows.context_tokens for rows in batches if rows.context_tokens is not None])
    expected = np.concatenate([np.arange(300.0), np.full(300, np.nan)])
    assert sorted(tokens) == pytest.approx(sorted(expected), nan_ok=True)
