"""Times models on one thread against their published form, and the bank's search against its matrix products
alone.

    make bench

Each ratio is the median over turns of both; dated figures are in ``speed.md`` beside this file.
"""

from __future__ import annotations

import time
from importlib.resources import as_file, files
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import plain_script as plain
import pyarrow.parquet as pq
import torch

from lvm_batch.jobs.processes.resources import keep_freed_memory
from lvm_batch.lvm import ExactIndex, Predictor, build_model
from lvm_batch.lvm.search.faiss import FaissIndex, build_faiss_index

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CPU = torch.device("cpu")
ROWS, TURNS = 2048, 7
BANK_ROWS, QUERIES = 100_000, 1024
N_SINGLE = 1500


def seconds(action: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def in_turns(slow: Callable[[], object], fast: Callable[[], object]) -> list[tuple[float, float]]:
    """Time both in turns, several times; the first turn is not counted."""
    return [(seconds(slow), seconds(fast)) for _ in range(TURNS + 1)][1:]


def line(name: str, pairs: Sequence[tuple[float, float]], n_rows: int, goal: str) -> str:
    """One row of the table."""
    theirs, ours = (n_rows / median(column) for column in zip(*pairs, strict=True))
    return f"| {name} | {theirs:,.0f} | {ours:,.0f} | {median(slow / fast for slow, fast in pairs):.2f} | {goal} |"


def single(predict: Callable[[], object]) -> np.ndarray:
    """Time single queries; p50 and p95 in milliseconds."""
    took = [seconds(predict) for _ in range(N_SINGLE + 50)][50:]
    return 1000 * np.percentile(took, [50, 95])


def model_lines(name: str, published: torch.nn.Module, goal: str) -> list[str]:
    """Compare a model with its published form, and its int8 form with float32."""
    contexts = np.random.default_rng(0).standard_normal((ROWS, 5, 768), dtype=np.float32)
    as_tensor = torch.from_numpy(contexts)
    model = build_model(name, seed=0)
    published.load_state_dict(model.state_dict())
    published.eval()
    predict, rounded = Predictor(model, CPU), Predictor(model, CPU, precision="int8")
    assert np.abs(predict(contexts) - published(as_tensor).numpy()).max() < 1e-5
    turns = in_turns(lambda: published(as_tensor), lambda: predict(contexts))
    turns_int8 = in_turns(lambda: predict(contexts), lambda: rounded(contexts))
    return [line(name, turns, ROWS, goal), line(f"{name}, int8 against float32", turns_int8, ROWS, "")]


def bank_line() -> str:
    """Compare a search with its matrix products alone."""
    vectors = np.random.default_rng(1).standard_normal((BANK_ROWS, 768), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index, queries, weights = ExactIndex(vectors, CPU), vectors[:QUERIES], torch.from_numpy(vectors)
    turns = in_turns(
        lambda: [torch.from_numpy(queries) @ block.T for block in weights.split(4096)],
        lambda: index.top2(queries),
    )
    return line("bank of 100,000 against its products alone", turns, QUERIES, "0.80")


def faiss_lines() -> list[str]:
    """Compare index search with exact search, over Wikipedia vectors mixed in pairs to get more of them."""
    with as_file(files("lvm_batch.io.sample") / "wikipedia_sample.parquet") as path:
        sample = np.stack(pq.read_table(path, columns=["vector"])["vector"].to_numpy()).astype(np.float32)
    chance = np.random.default_rng(3)
    share = chance.uniform(0.5, 0.95, (BANK_ROWS, 1)).astype(np.float32)
    vectors = share * sample[chance.integers(0, len(sample), BANK_ROWS)]
    vectors += (1 - share) * sample[chance.integers(0, len(sample), BANK_ROWS)]
    vectors += 0.012 * chance.standard_normal(vectors.shape, dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = 0.8 * vectors[:QUERIES] + 0.6 * sample[chance.integers(0, len(sample), QUERIES)]
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    exact, index = ExactIndex(vectors, CPU), FaissIndex(build_faiss_index(vectors), vectors)
    turns = in_turns(lambda: exact.top2(queries), lambda: index.top2(queries))
    recall = np.isclose(exact.top2(queries), index.top2(queries), rtol=0, atol=1e-5).mean()
    return [line(f"bank of 100,000, faiss against exact, recall@2 {recall:.4f}", turns, QUERIES, "10")]


def query_lines() -> list[str]:
    """Compare single queries."""
    context = np.random.default_rng(2).standard_normal((1, 5, 768), dtype=np.float32)
    as_tensor = torch.from_numpy(context)
    published, predict = plain.AMN().eval(), Predictor(build_model("amn", seed=0), CPU)
    theirs, ours = single(lambda: published(as_tensor)), single(lambda: predict(context))
    figures = {"as published": theirs, "lvm-batch": ours, "ratio (goals 0.6 and 0.7)": ours / theirs}
    return [f"| {name} | {p50:.3f} | {p95:.3f} |" for name, (p50, p95) in figures.items()]


@torch.inference_mode()
def main() -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    keep_freed_memory()
    print("\n| one thread | as published, rows/s | lvm-batch, rows/s | ratio | goal |")
    print("| --- | --- | --- | --- | --- |")
    print("\n".join(model_lines("amn", plain.AMN(), "1.45") + model_lines("gru", plain.GRU(), "1.1")))
    print("\n".join([bank_line(), *faiss_lines()]))
    print("\n| one query, amn | p50, ms | p95, ms |\n| --- | --- | --- |")
    print("\n".join(query_lines()))


if __name__ == "__main__":
    main()
