"""The recipes for readers of an output, and the notebook, run unchanged on a real output."""

from __future__ import annotations

import ast
import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pytest
from support import reference
from support.command import called
from support.datasets import predictions_of, read_rows, sample, windows, write_windows

from lvm_batch.io import predictions_dataset, read_predictions
from lvm_batch.io.bank.bank import open_bank

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow

Row = dict[str, Any]

WORKFLOWS = Path(__file__).parents[2] / "workflows"
RECIPES = (WORKFLOWS / "downstream.md").read_text(encoding="utf-8")
NOTEBOOK = json.loads((WORKFLOWS / "one_run.ipynb").read_text(encoding="utf-8"))
N_ROWS = 240
LANES = np.array(["film", "sci-fact", None, "music"], object)


@pytest.fixture(scope="module")
def demo(models: Path, bank: Path, scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the recipes name: an output of two files, with a bad row and both routes, and its bank."""
    folder = tmp_path_factory.mktemp("recipes")
    article = sample()["article_id"].to_numpy()
    last = [row for row in range(4, len(article) - 1) if article[row - 4] == article[row + 1]][:N_ROWS]
    contexts, targets = (part[:N_ROWS].copy() for part in windows())
    contexts[7] = np.nan
    keys = {name: sample()[name].to_numpy()[last] for name in ("article_id", "position")}
    for number, rows in enumerate((slice(0, 200), slice(200, N_ROWS))):
        columns = {name: values[rows] for name, values in keys.items()}
        columns["lane"] = LANES[np.arange(N_ROWS)[rows] % len(LANES)]
        write_windows(folder / f"in/shard-{number}.parquet", contexts[rows], targets[rows], columns=columns)
    shutil.copytree(bank, folder / "lvm-batch-demo/bank")
    given = ("--model", models / "amn.pt", "--fallback", models / "gru.pt", "--bank", bank)
    options = (*reference.as_options(reference.ROUTING), "--shadow-rate", 0.1)
    output = ("--output", folder / "lvm-batch-demo/predictions", "--scheduler", scheduler)
    called("run", folder / "in", *output, *given, *options).done()
    return folder


@pytest.fixture
def rows(demo: Path) -> list[Row]:
    """The rows of the output, file by file."""
    return read_rows(demo / "lvm-batch-demo/predictions")


def python_blocks(text: str) -> dict[str, str]:
    """The Python blocks of a document, by their headings."""
    sections = re.split(r"^##? (.+)$", text, flags=re.MULTILINE)[1:]
    pairs = zip(sections[::2], sections[1::2], strict=True)
    return {
        heading: "\n".join(re.findall(r"```python\n(.*?)```", body, re.DOTALL)) for heading, body in pairs
    }


BLOCKS = python_blocks(RECIPES)
TITLE, KEYS = "Reading an output", "Rows with keys"


@pytest.fixture
def recipe(demo: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Run the block under a heading, after the first block; return the names it defines."""
    monkeypatch.chdir(demo)

    def run(heading: str) -> dict[str, Any]:
        names: dict[str, Any] = {}
        code = BLOCKS[TITLE] + BLOCKS[KEYS] + BLOCKS[heading]
        exec(compile(code, heading, "exec"), names)  # noqa: S102 - our own document
        return names

    return run


def test_the_output_has_every_case(rows: list[Row]) -> None:
    """The recipes' output has both routes, several reasons, gains and losses, and a bad row."""
    assert {row["route"] for row in rows} == {"amn", "gru", None}
    assert {reason for row in rows for reason in row["escalation_reasons"]} >= {
        "low_confidence",
        "low_margin",
    }
    assert {row["gru_cosine"] > row["amn_cosine"] for row in rows if row["route"] == "gru"} == {True, False}


def test_every_recipe_is_short_and_tested() -> None:
    """Each section but the first has one block of 5 to 13 lines of code, and a test below that runs it."""
    assert [heading for heading, block in BLOCKS.items() if not block] == []
    sizes = {heading: sum(map(bool, block.splitlines())) for heading, block in BLOCKS.items()}
    assert all(5 <= size <= 13 for heading, size in sizes.items() if heading != TITLE), sizes
    tests = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{heading}"' in tests for heading in BLOCKS)


def test_links_lead_somewhere() -> None:
    """Each link of the document leads to one of its sections or to a file beside it."""
    sections = {f"#{heading.lower().replace(' ', '-')}" for heading in BLOCKS}
    for target in re.findall(r"\]\((?!https:)([^)]+)\)", RECIPES):
        assert target in sections or (WORKFLOWS / target).is_file(), target


def test_mean_cosine(recipe: Callable[[str], dict[str, Any]], rows: list[Row]) -> None:
    """The polars means are those over the rows of each route and lane."""
    means = recipe("Mean cosine by route and lane")["by_lane"]
    assert means["rows"].sum() == N_ROWS
    for route, lane, n_rows, cosine, _ in means.rows():
        group = [row["cosine"] for row in rows if (row["route"], row["lane"]) == (route, lane)]
        assert n_rows == len(group)
        assert route is None or cosine == pytest.approx(np.mean(group), abs=1e-6)


def test_escalation_that_paid(recipe: Callable[[str], dict[str, Any]], rows: list[Row]) -> None:
    """The DuckDB rows are those that GRU answered better, the best first; the counts are right."""
    frames = recipe("Rows that escalation made better")
    escalated = [row for row in rows if row["route"] == "gru"]
    gains = {(row["article_id"], row["position"]): row["gru_cosine"] - row["amn_cosine"] for row in escalated}
    better = frames["better"]
    keys = list(zip(better["article_id"], better["position"], strict=True))
    assert set(keys) == {key for key, gain in gains.items() if gain > 0}
    assert better["gain"].is_monotonic_decreasing
    for reason, n_rows, gain in frames["by_reason"].itertuples(index=False):
        group = [
            row["gru_cosine"] - row["amn_cosine"] for row in escalated if reason in row["escalation_reasons"]
        ]
        assert (n_rows, gain) == (len(group), pytest.approx(np.mean(group), abs=1e-6))


def test_ids_of_unsure_rows(recipe: Callable[[str], dict[str, Any]], rows: list[Row], demo: Path) -> None:
    """The pandas recipe writes the keys of the rows that have the reason, the least confident first."""
    recipe("Ids of rows of low confidence")
    with (demo / "unsure.csv").open(encoding="utf-8") as file:
        written = [(int(row["article_id"]), int(row["position"])) for row in csv.DictReader(file)]
    unsure = [row for row in rows if "low_confidence" in row["escalation_reasons"]]
    assert 0 < len(unsure) < N_ROWS
    unsure.sort(key=lambda row: row["confidence"])
    assert written == [(row["article_id"], row["position"]) for row in unsure]


def test_nearest_vectors(recipe: Callable[[str], dict[str, Any]], rows: list[Row], demo: Path) -> None:
    """FAISS finds the ten nearest vectors of the bank, with their row numbers, and agrees with the confidence."""
    pytest.importorskip("faiss", reason="needs pip install 'lvm-batch[faiss]'")
    neighbours = recipe("Ten nearest vectors of the bank")["neighbours"]
    ok = np.array([row["status"] == "ok" for row in rows])
    cosines = (
        predictions_of(demo / "lvm-batch-demo/predictions")[ok]
        @ open_bank(str(demo / "lvm-batch-demo/bank")).vectors.T
    )
    best = -np.sort(-cosines, axis=1)[:, :10]
    assert neighbours.height == ok.sum() == N_ROWS - 1
    assert np.abs(neighbours["cosines"].to_numpy() - best).max() < 1e-5
    assert np.abs(np.take_along_axis(cosines, neighbours["rows"].to_numpy(), axis=1) - best).max() < 1e-5
    amn = np.array([row["route"] == "amn" for row in rows])[ok]
    confidence = np.array([row["confidence"] for row in rows], np.float64)[ok]
    assert np.abs(neighbours["cosines"].to_numpy()[amn, 0] - confidence[amn]).max() < 1e-5


def test_training_batches(demo: Path) -> None:
    """A Hugging Face dataset gives torch batches of all rows that have a prediction."""
    # In a separate process: the tests' own folder is called `datasets` too.
    with_dataset = "import importlib.util, sys; sys.exit(importlib.util.find_spec('datasets') is None)"
    if subprocess.run([sys.executable, "-c", with_dataset], check=False, cwd=demo).returncode:
        pytest.skip("needs pip install datasets")
    code = (
        BLOCKS[TITLE]
        + BLOCKS["Batches to train on"]
        + "\nprint(len(dataset), *predictions.shape, *cosines.shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=demo)
    rest = (N_ROWS - 1) % 128
    assert done.stdout.split() == [str(number) for number in (N_ROWS - 1, rest, 768, rest)], done.stderr


def test_both_readers_see_the_real_output(demo: Path, rows: list[Row]) -> None:
    """Both readers return every row of a real run's output, in order."""
    output = demo / "lvm-batch-demo/predictions"
    keys = [(row["article_id"], row["position"]) for row in rows]
    assert read_predictions(output).select("article_id", "position").collect().rows() == keys
    table = predictions_dataset(output).to_table(columns=["article_id", "position"])
    assert list(zip(*table.to_pydict().values(), strict=True)) == keys


def test_the_notebook_runs(demo: Path, rows: list[Row], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell runs, top to bottom, from the notebook's folder, and its figures and tables appear."""
    from matplotlib import pyplot as plt

    (demo / "workflows").mkdir(exist_ok=True)
    monkeypatch.chdir(demo / "workflows")
    with mpl.rc_context():
        mpl.use("Agg")
        plt.close("all")
        names: dict[str, Any] = {}
        shown = [
            _run_cell("".join(cell["source"]), names)
            for cell in NOTEBOOK["cells"]
            if cell["cell_type"] == "code"
        ]
        n_figures = len(plt.get_fignums())
        plt.close("all")
    assert n_figures == 4
    assert names["rows"].height == N_ROWS
    table = {name: (n_rows, gain) for name, n_rows, gain, _ in shown[-1].rows()}
    for name, route in (("escalated", "gru"), ("shadow", "amn")):
        group = [row for row in rows if row["route"] == route and row["gru_cosine"] is not None]
        gains = [row["gru_cosine"] - row["amn_cosine"] for row in group]
        assert table[name] == (len(group), pytest.approx(np.mean(gains), abs=1e-6))


def _run_cell(source: str, names: dict[str, Any]) -> Any:  # noqa: ANN401
    """Run a cell; return the value of its last line if that is an expression, as a notebook shows it."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)  # noqa: S102 - our own notebook
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names) if last else None  # noqa: S307


def test_the_notebook_is_stored_without_results() -> None:
    """The notebook holds no outputs, no execution counts, and nothing of the person who ran it last."""
    for cell in NOTEBOOK["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        assert cell["metadata"] == {}
    assert NOTEBOOK["metadata"].keys() == {"kernelspec", "language_info"}


def test_rows_have_the_same_keys_every_time(recipe: Callable[[str], dict[str, Any]], rows: list[Row]) -> None:
    """A key is the name of the output's file and the number of the row there; only rows with a prediction are given."""
    names = recipe("Rows with keys")
    once, again = (list(names["keyed_batches"](["position"])) for _ in range(2))
    keys = [key for batch in once for key in batch["key"].to_pylist()]
    assert keys == [key for batch in again for key in batch["key"].to_pylist()]
    first = [row for row, each in enumerate(rows[:200]) if each["status"] == "ok"]
    assert keys[: len(first)] == [f"/shard-0-00000.parquet#{row}" for row in first]
    assert len(set(keys)) == sum(row["status"] == "ok" for row in rows)


def test_a_table_in_lancedb(recipe: Callable[[str], dict[str, Any]], rows: list[Row]) -> None:
    """Loaded twice it has every row once, and a prediction is its own nearest neighbour."""
    pytest.importorskip("lancedb", reason="needs pip install lancedb")
    for _ in range(2):
        names = recipe("A table in LanceDB")
        assert names["table"].count_rows() == sum(row["status"] == "ok" for row in rows)
    assert names["nearest"][0]["key"] == names["batch"]["key"][0].as_py()


def test_a_collection_in_qdrant(recipe: Callable[[str], dict[str, Any]], rows: list[Row]) -> None:
    """Loaded twice it has every row once, and a prediction is its own nearest neighbour."""
    pytest.importorskip("qdrant_client", reason="needs pip install qdrant-client")
    for _ in range(2):
        names = recipe("A collection in Qdrant")
        assert names["client"].count("predictions").count == sum(row["status"] == "ok" for row in rows)
        assert names["nearest"][0].payload["key"] == names["batch"]["key"][0].as_py()
        names["client"].close()


def test_a_table_in_postgres(recipe: Callable[[str], dict[str, Any]], rows: list[Row]) -> None:
    """Loaded twice it has every row once."""
    pytest.importorskip("pgvector", reason="needs pip install 'psycopg[binary]' pgvector")
    psycopg = pytest.importorskip("psycopg")
    if "DATABASE_URL" not in os.environ:
        pytest.skip("needs DATABASE_URL of a Postgres server with pgvector")
    for _ in range(2):
        recipe("A table in Postgres")
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        [(count,)] = connection.execute("SELECT count(*) FROM predictions").fetchall()
        connection.execute("DROP TABLE predictions")
    assert count == sum(row["status"] == "ok" for row in rows)
