"""How often the rules on drift fire in nights without any, over articles drawn from a file of real vectors.

    python tests/benchmarks/drift_nights.py vectors.parquet --model amn.pt --articles 10 --before 7 --nights 600

The file is of the sequences layout. Nights are articles drawn without replacement; each is sampled as a run samples it,
and the last one is judged against those before. ``--tonight FILE`` draws the last night from another file.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from support.past_runs import NOW, make_run_entry

from lvm_batch.io.history.row_sample import RowSample
from lvm_batch.jobs.monitoring.rule_checks import evaluate_rules
from lvm_batch.jobs.monitoring.rules import Rules
from lvm_batch.jobs.monitoring.window import window_of
from lvm_batch.jobs.prediction.execution.row_sampling import SAMPLED_ROWS, describe_contexts, project
from lvm_batch.lvm import load_checkpoint

LENGTH, N_BANK, MIN_CONFIDENCE = 5, 4000, 0.70
DRIFT = ("input_drift", "prediction_drift", "confidence_drift", "reason_drift")


@dataclass(frozen=True)
class Windows:
    """What a sample says of every window of a file, by column, and the rows of each article."""

    columns: dict[str, np.ndarray]
    rows: dict[Any, np.ndarray]


def read_windows(path: Path, model: torch.nn.Module) -> Windows:
    """Predict every window of a file; the bank is of vectors of the file, the row's own context left out."""
    table = pq.read_table(path, columns=["article_id", "vector"])
    vectors = table["vector"].combine_chunks().values.to_numpy(zero_copy_only=False).astype(np.float32)
    vectors, article = vectors.reshape(len(table), -1), table["article_id"].to_numpy()
    last = np.flatnonzero(article[LENGTH - 1 : -1] == article[:-LENGTH]) + LENGTH - 1
    in_bank = np.random.default_rng(0).permutation(len(vectors))[:N_BANK]
    parts: list[dict[str, np.ndarray]] = []
    for rows in np.array_split(last, -(-len(last) // 1000)):
        contexts = vectors[rows[:, None] + np.arange(1 - LENGTH, 1)]
        with torch.inference_mode():
            predictions = model(torch.from_numpy(contexts)).numpy()
        cosines = predictions @ vectors[in_bank].T
        cosines[np.abs(in_bank[None, :] - rows[:, None] + 2) <= LENGTH // 2] = -1
        confidence = cosines.max(axis=1)
        parts.append(
            {
                "inputs": describe_contexts(contexts),
                "predictions": project(predictions),
                "confidence": confidence,
                "reasons": confidence < MIN_CONFIDENCE,
                "groups": article[rows],
            }
        )
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Windows(
        columns, {one: np.flatnonzero(columns["groups"] == one) for one in np.unique(columns["groups"])}
    )


def sample(windows: Windows, articles: np.ndarray) -> RowSample:
    """Sample a night of articles at even distances."""
    rows = np.concatenate([windows.rows[article] for article in articles])
    kept = rows[np.linspace(0, len(rows) - 1, min(SAMPLED_ROWS, len(rows))).astype(int)]
    return RowSample.of({name: values[kept] for name, values in windows.columns.items()}, ("low_confidence",))


def main() -> None:
    """Print how many nights each rule, and any of them, makes an alert of."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vectors", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--tonight", type=Path)
    for name, default in (("--articles", 10), ("--before", 7), ("--nights", 200)):
        parser.add_argument(name, type=int, default=default)
    given = parser.parse_args()
    model = load_checkpoint(given.model.read_bytes(), given.model.name).model.eval()
    usual = read_windows(given.vectors, model)
    other = read_windows(given.tonight, model) if given.tonight else None
    rng, fired = np.random.default_rng(0), dict.fromkeys((*DRIFT, "any"), 0)
    for _ in range(given.nights):
        drawn = rng.permutation(list(usual.rows))[: given.articles * (given.before + 1)]
        tonight, *before = np.split(drawn, given.before + 1)
        last = (
            sample(other, rng.permutation(list(other.rows))[: given.articles])
            if other
            else sample(usual, tonight)
        )
        runs = [
            make_run_entry(hours_ago=30 + 24 * n, row_sample=sample(usual, one))
            for n, one in enumerate(before)
        ]
        window, _ = window_of(
            [*runs, make_run_entry(row_sample=last)], since=NOW - timedelta(hours=24), now=NOW
        )
        found = {finding.rule for finding in evaluate_rules(Rules(), window) if finding.state == "fired"}
        for name in DRIFT:
            fired[name] += name in found
        fired["any"] += bool(found & set(DRIFT))
    print(f"{datetime.now(UTC):%Y-%m-%d}, {given.nights} nights: {fired}")


if __name__ == "__main__":
    main()
