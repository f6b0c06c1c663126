"""The benchmark's job as other frameworks for batch inference do it: Daft, and Hugging Face datasets.

    python tests/benchmarks/peer_scripts.py daft|datasets SHARDS OUT AMN GRU

Each reads windows, runs AMN on every row and GRU on the rows of high-stakes lanes, with the models of the plain script,
and writes predictions, cosines and routes to Parquet, by the framework's own means and with its default settings but
for batches of 2,048 rows.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from plain_script import AMN, BATCH_ROWS, GRU, LANES, load

if TYPE_CHECKING:
    from daft import Series


def answer(models: tuple[torch.nn.Module, torch.nn.Module], batch: pa.RecordBatch | pa.Table) -> pa.Table:
    """Return lane, prediction, cosine and route of a batch of windows."""
    amn, gru = models
    contexts = torch.from_numpy(_floats(batch["context"]).reshape(-1, 5, 768).copy())
    targets = torch.from_numpy(_floats(batch["target"]).reshape(-1, 768).copy())
    with torch.inference_mode():
        prediction = amn(contexts)
        escalated = np.asarray(pc.is_in(batch["lane"], LANES))
        if escalated.any():
            chosen = torch.from_numpy(escalated.copy())
            prediction[chosen] = gru(contexts[chosen])
        cosine = F.cosine_similarity(prediction, targets).numpy()
    return pa.table(
        {
            "lane": batch["lane"],
            "prediction": pa.FixedSizeListArray.from_arrays(pa.array(prediction.numpy().ravel()), 768),
            "cosine": pa.array(cosine),
            "route": pa.array(np.where(escalated, "gru", "amn")),
        }
    )


def _floats(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return whole.flatten().to_numpy(zero_copy_only=False)


def run_daft(shards: str, out: str, amn: str, gru: str) -> None:
    """Do the job with Daft: a class of functions over batches, one a process of its runner."""
    import daft
    from daft import DataType as Type

    answers = Type.struct(
        {
            "prediction": Type.fixed_size_list(Type.float32(), 768),
            "cosine": Type.float32(),
            "route": Type.string(),
        }
    )

    @daft.cls
    class Cascade:
        """Both models, loaded once."""

        def __init__(self) -> None:
            self.models = load(AMN(), amn), load(GRU(), gru)

        @daft.method.batch(return_dtype=answers, batch_size=BATCH_ROWS)
        def __call__(self, context: Series, target: Series, lane: Series) -> pa.Array:
            """Answer a batch."""
            columns = {"context": context.to_arrow(), "target": target.to_arrow(), "lane": lane.to_arrow()}
            table = answer(self.models, pa.table(columns))
            fields = ["prediction", "cosine", "route"]
            return pa.StructArray.from_arrays([table[name].combine_chunks() for name in fields], fields)

    frame = daft.read_parquet(f"{shards}/*.parquet")
    found = Cascade()(frame["context"], frame["target"], frame["lane"]).alias("answer")
    fields = [daft.col("answer")[name].alias(name) for name in ("prediction", "cosine", "route")]
    frame.select("lane", found).select("lane", *fields).write_parquet(out)


def run_datasets(shards: str, out: str, amn: str, gru: str) -> None:
    """Do the job with Hugging Face datasets: ``map`` over batches in Arrow's format, shard by shard."""
    import datasets

    models = load(AMN(), amn), load(GRU(), gru)
    read = datasets.load_dataset(
        "parquet", data_files=f"{shards}/*.parquet", split="train", cache_dir=f"{out}-cache"
    )
    answered = read.with_format("arrow").map(
        lambda batch: answer(models, batch),
        batched=True,
        batch_size=BATCH_ROWS,
        remove_columns=read.column_names,
    )
    answered.to_parquet(f"{out}.parquet")


if __name__ == "__main__":
    {"daft": run_daft, "datasets": run_datasets}[sys.argv[1]](*sys.argv[2:])
    os._exit(0)  # Daft's threads may crash an interpreter that shuts down
