"""Times models as ONNX in onnxruntime against their fast forms here, in processor time of one thread each.

    OPENBLAS_NUM_THREADS=1 python tests/benchmarks/onnx_models.py

Both take turns, so that whatever else the machine does strikes both; dated figures are in ``speed.md`` beside this
file.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import torch

from lvm_batch.lvm import Predictor, build_model
from lvm_batch.lvm.portable.onnx_model import onnx_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

LENGTH, DIM = 5, 768
TURNS = {1: 500, 256: 12, 2048: 3}
"""Turns by the rows at once."""


def main() -> None:
    """Print a row of the table for each model and number of rows."""
    torch.set_num_threads(1)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    for name in ("amn", "amn-mixer", "gru"):
        model = build_model(name, seed=1).eval()
        data = onnx_bytes(model, length=LENGTH, opset=17, producer=("bench", "0"), facts={})
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        predict = Predictor(model, torch.device("cpu"))
        for n_rows, turns in TURNS.items():
            rows = np.random.default_rng(0).standard_normal((n_rows, LENGTH, DIM), dtype=np.float32)
            rows /= np.linalg.norm(rows, axis=2, keepdims=True)
            theirs, ours = timed(
                [partial(session.run, None, {"context": rows}), partial(predict, rows)], turns
            )
            print(
                f"| {name}, {n_rows:,} | {cells(theirs, n_rows)} | {cells(ours, n_rows)} | {ratio(ours, theirs)} |"
            )


def timed(calls: list[Callable[[], object]], turns: int) -> list[np.ndarray]:
    """Seconds of processor time of each call, in turns, after two calls that warm it."""
    seconds: list[list[float]] = [[] for _ in calls]
    for turn in range(-2, turns):
        for call, kept in zip(calls, seconds, strict=True):
            start = time.process_time()
            call()
            if turn >= 0:
                kept.append(time.process_time() - start)
    return [np.array(each) for each in seconds]


def cells(seconds: np.ndarray, n_rows: int) -> str:
    """Milliseconds at p50 and p95, and rows a second."""
    middle, late = 1000 * np.quantile(seconds, (0.5, 0.95))
    return f"{middle:.2f} / {late:.2f} | {1000 * n_rows / middle:,.0f}"


def ratio(ours: np.ndarray, theirs: np.ndarray) -> str:
    """How many times as long ours takes: the median over turns, and its quartiles."""
    low, middle, high = np.quantile(ours / theirs, (0.25, 0.5, 0.75))
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    main()
