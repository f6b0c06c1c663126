"""A script that does the job by hand with pyarrow and torch: the baseline of the benchmarks.

    python tests/benchmarks/plain_script.py SHARDS OUT AMN GRU

Reads windows, runs AMN as its card publishes it on every row and GRU on the rows of high-stakes lanes, and writes
predictions with their cosines. It handles no bad rows, interruptions or bank, and imports nothing of lvm-batch.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

LANES = pa.array(["sci-fact", "math-derivation", "med-guideline", "policy/procedure"])
BATCH_ROWS = 2048


class AMN(nn.Module):
    """AMN as published, with a key for each vector of the context."""

    def __init__(self) -> None:
        super().__init__()
        self.context_encoder = nn.Linear(768, 256)
        self.query_encoder = nn.Linear(768, 256)
        self.residual_net = nn.Sequential(
            nn.Linear(1536, 512),
            nn.GELU(),
            nn.LayerNorm(512),
            nn.Linear(512, 256),
            nn.GELU(),
            nn.LayerNorm(256),
            nn.Linear(256, 768),
        )

    def forward(self, context: Tensor) -> Tensor:
        """Map (batch, 5, 768) to (batch, 768)."""
        mean = context.mean(dim=1)
        keys = self.context_encoder(context)
        query = self.query_encoder(mean).unsqueeze(1)
        weights = torch.softmax((query @ keys.transpose(1, 2)) / math.sqrt(256), dim=-1)
        mix = (weights @ context).squeeze(1)
        return F.normalize(mean + self.residual_net(torch.cat([mean, mix], dim=1)), dim=-1)


class Block(nn.Module):
    """One layer of the GRU stack."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(512, 512, batch_first=True)
        self.norm = nn.LayerNorm(512)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, 5, 512) to the same."""
        return self.norm(x + self.gru(x)[0])


class GRU(nn.Module):
    """The GRU stack as published."""

    def __init__(self) -> None:
        super().__init__()
        self.input_proj = nn.Linear(768, 512)
        self.blocks = nn.ModuleList(Block() for _ in range(4))
        self.output_proj = nn.Linear(512, 768)

    def forward(self, context: Tensor) -> Tensor:
        """Map (batch, 5, 768) to (batch, 768)."""
        x = self.input_proj(context)
        for block in self.blocks:
            x = block(x)
        return F.normalize(self.output_proj(x[:, -1]), dim=-1)


def load(model: nn.Module, path: str) -> nn.Module:
    """Load a checkpoint's weights into a model."""
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=False)["model_state_dict"])
    return model.eval()


def predict(shard: Path, out: Path, amn: nn.Module, gru: nn.Module) -> None:
    """Write predictions for the rows of one file."""
    writer = None
    for batch in pq.ParquetFile(shard).iter_batches(batch_size=BATCH_ROWS):
        contexts = torch.from_numpy(batch["context"].flatten().to_numpy().reshape(-1, 5, 768).copy())
        targets = torch.from_numpy(batch["target"].flatten().to_numpy().reshape(-1, 768).copy())
        prediction = amn(contexts)
        escalated = pc.is_in(batch["lane"], LANES).to_numpy(zero_copy_only=False)
        if escalated.any():
            chosen = torch.from_numpy(escalated)
            prediction[chosen] = gru(contexts[chosen])
        table = pa.table(
            {
                "lane": batch["lane"],
                "prediction": pa.FixedSizeListArray.from_arrays(pa.array(prediction.numpy().ravel()), 768),
                "cosine": pa.array(F.cosine_similarity(prediction, targets).numpy()),
                "route": pa.array(np.where(escalated, "gru", "amn")),
            }
        )
        writer = writer or pq.ParquetWriter(out / shard.name, table.schema)
        writer.write_table(table)
    if writer:
        writer.close()


def main() -> None:
    """Predict every shard of a folder."""
    shards, out, amn, gru = sys.argv[1:]
    models = load(AMN(), amn), load(GRU(), gru)
    Path(out).mkdir(parents=True)
    with torch.inference_mode():
        for shard in sorted(Path(shards).glob("*.parquet")):
            predict(shard, Path(out), *models)


if __name__ == "__main__":
    main()
