"""Trains a model by the default recipe and judges it on articles, and on whole books, that it never saw.

    python tests/benchmarks/unseen_articles.py textbooks.parquet --arch gru --books chemistry-bundle us-history
    python tests/benchmarks/unseen_articles.py textbooks.parquet --arch gru --change epochs=8 averaging=0.998

The file has sequences: `article_id` and `vector`, and `book` where books are kept apart; an article's rows stand
together in reading order. A seventh of the other articles is kept apart too. Prints the mean cosines of the mean of the
context, of ridge regression, and of each epoch, and the time.
"""

from __future__ import annotations

import argparse
from ast import literal_eval
from dataclasses import replace
from time import perf_counter, process_time
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from lvm_batch.lvm.architectures.catalog import build_model
from lvm_batch.lvm.inference.cosines import row_cosines
from lvm_batch.lvm.inference.predictor import Predictor
from lvm_batch.lvm.training.recipes import recipe_for
from lvm_batch.lvm.training.ridge import fit_ridge
from lvm_batch.lvm.training.training import Training
from lvm_batch.lvm.training.windows import Windows

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

LENGTH = 5
SHARE, VALIDATION_SHARE = 7, 10  # a seventh of the articles judges, a tenth of the rest chooses the epoch


def read(path: str, books: list[str], n_windows: int | None) -> dict[str, Windows]:
    """Return the windows to train on, to choose the epoch by, and to judge by."""
    table = pq.read_table(path)
    vectors = table["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    article = table["article_id"].to_numpy()
    ends = np.arange(LENGTH, len(article))
    ends = ends[article[ends] == article[ends - LENGTH]]
    windows = Windows(
        vectors.reshape(len(article), -1), ends[:, None] + np.arange(-LENGTH, 0, dtype=np.int64), ends
    )
    in_books = np.isin(table["book"].to_pylist(), books)[ends] if books else np.zeros(len(ends), bool)
    articles = np.random.default_rng(1).permutation(np.unique(article[ends][~in_books]))
    judging, rest = articles[: len(articles) // SHARE], articles[len(articles) // SHARE :]
    choosing, training = rest[: len(rest) // VALIDATION_SHARE], rest[len(rest) // VALIDATION_SHARE :]
    parts = {
        name: windows.take(np.isin(article[ends], kept) & ~in_books)
        for name, kept in (("training", training), ("choosing", choosing), ("articles", judging))
    }
    if n_windows:
        parts["training"] = parts["training"].take(np.arange(min(n_windows, len(parts["training"]))))
    return parts | ({"books": windows.take(in_books)} if books else {})


def cosine(predict: Callable[[Floats], Floats], windows: Windows) -> float:
    """Return the mean cosine of predictions and targets."""
    rows = [
        row_cosines(predict(contexts.numpy()), targets.numpy()) for contexts, targets in windows.batches()
    ]
    return float(np.concatenate(rows).mean(dtype=np.float64))


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--arch", default="amn")
    parser.add_argument("--books", nargs="*", default=[])
    parser.add_argument("--windows", type=int, help="train on that many windows only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--change", nargs="*", default=[], metavar="NAME=VALUE", help="of the recipe")
    given = parser.parse_args()
    changed = {name: literal_eval(value) for name, value in (change.split("=") for change in given.change)}
    parts = read(given.dataset, given.books, given.windows)
    judges = {name: windows for name, windows in parts.items() if name in {"articles", "books"}}
    training_windows = parts["training"]

    def show(name: str, predict: Callable[[Floats], Floats]) -> None:
        figures = "  ".join(f"{judge} {cosine(predict, windows):.5f}" for judge, windows in judges.items())
        print(f"{name:<10} {figures}", flush=True)

    show("mean", lambda contexts: contexts.mean(axis=1))
    show("ridge", fit_ridge(training_windows))
    recipe = replace(recipe_for("unseen", given.arch, n_windows=len(training_windows)), **changed)
    print(f"{len(training_windows)} windows, {recipe}", flush=True)
    model = build_model(given.arch, seed=given.seed, input_dim=training_windows.dim)
    training = Training(model, training_windows, recipe=recipe, seed=given.seed, validation=parts["choosing"])
    started, used = perf_counter(), process_time()
    for epoch in training:
        show(f"epoch {epoch.number}", Predictor(training.judged, training.device))
    best = training.finish().best.number
    show(f"kept: {best}", Predictor(model, training.device))
    print(f"{perf_counter() - started:.0f} s, {process_time() - used:.0f} s of CPU")


if __name__ == "__main__":
    main()
