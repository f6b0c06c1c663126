"""A folder with what the commands of a document name, made from the sample's vectors and small models."""

from __future__ import annotations

import contextlib
import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lvm_batch.io.history.history import write_run
from lvm_batch.jobs.evaluation import judged_models
from support.command import called
from support.datasets import sample, windows, write_windows
from support.noisy_models import write_noisy_models
from support.past_runs import make_run_entry

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

N_ROWS = 240


class Place:
    """The folder of a document: the names that its commands use, made from the sample's vectors."""

    def __init__(self, root: Path, models: Path, bank: Path) -> None:
        self.root, self.models, self.bank = root, models, bank

    def registry(self, *names: str, models: Path | None = None, at: str = "artifacts/lvm/models") -> None:
        """Models ``amn`` and ``gru`` with their roles; ``amn-2`` is a copy of the first that had its role before."""
        for name in ("amn", "gru", *names):
            folder = self.root / at / name
            folder.mkdir(parents=True)
            kind = name.partition("-")[0]
            shutil.copy((models or self.models) / f"{kind}.pt", folder / "best_model.pt")
        for name in (*names, "amn", "gru"):
            called("models", "promote", name, "--models-dir", self.root / at).done()

    def sequences(self, name: str) -> None:
        """A folder of vectors, the rows of each article in order."""
        (self.root / name).mkdir()
        pq.write_table(sample().slice(0, N_ROWS), self.root / name / "a.parquet")

    def short_articles(self, *names: str) -> None:
        """Files of four articles so short that a mean of the context finds most targets in a bank of them."""
        article = sample()["article_id"].to_numpy()
        first = np.concatenate([np.flatnonzero(article == each)[:14] for each in np.unique(article)[:4]])
        for name in names:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(sample().take(pa.array(first)), self.root / name)

    def noisy_models(self) -> Path:
        """A folder of models that predict the mean of the context, more or less."""
        (self.root / "noisy").mkdir()
        return write_noisy_models(self.root / "noisy")

    def embeddings(self) -> None:
        """The vectors of a parallel job: shuffled over four files, under names of its own."""
        table = sample().slice(0, N_ROWS).take(pa.array(np.random.default_rng(0).permutation(N_ROWS)))
        columns = {"article_id": "doc_id", "position": "chunk_index", "tokens": "n_tokens"}
        columns |= {"vector": "embedding"}
        table = table.rename_columns([columns.get(name, name) for name in table.column_names])
        (self.root / "embeddings").mkdir()
        for number in range(4):
            part = table.slice(number * N_ROWS // 4, N_ROWS // 4)
            pq.write_table(part, self.root / f"embeddings/part-{number:05}.parquet")

    def windows(self, name: str, *, n_rows: int = N_ROWS, bad: bool = False) -> None:
        """A file of contexts with targets, lanes and articles."""
        contexts, targets = (part[:n_rows].copy() for part in windows())
        article = sample()["article_id"].to_numpy()
        last = [row for row in range(4, len(article) - 1) if article[row - 4] == article[row + 1]][:n_rows]
        if bad:
            contexts[7] = np.nan
        lanes = ["sci-fact" if row % 20 == 7 else "news" for row in range(n_rows)]
        splits = ["ood" if row % 3 == 0 else "in_dist" for row in range(n_rows)]
        columns = {"article_id": article[last], "lane": lanes, "split": splits}
        write_windows(self.root / name / "a.parquet", contexts, targets, columns=columns)

    def banks(self, *names: str) -> None:
        """Copies of the bank of all vectors of the sample."""
        for name in names:
            shutil.copytree(self.bank, self.root / name)

    def output(self, name: str, *options: object, bad: bool = False) -> None:
        """A finished output with both routes."""
        self.windows(f"input-of-{name}", bad=bad)
        models = ("--model", self.models / "amn.pt", "--fallback", self.models / "gru.pt")
        paths = ("--output", self.root / name, "--bank", self.bank, *options)
        called("run", self.root / f"input-of-{name}", *models, *paths).done()

    def history(self, name: str) -> None:
        """The history of one run, an hour ago, that fires no rule."""
        ended = datetime.now(UTC) - timedelta(hours=1)
        write_run(str(self.root / name), make_run_entry(started=ended - timedelta(minutes=1), ended=ended))

    def lightning(self, name: str) -> None:
        """A checkpoint as Lightning writes it."""
        import torch

        weights = torch.load(self.models / "amn.pt", weights_only=True)["model_state_dict"]
        state = {f"model.{name}": tensor for name, tensor in weights.items()}
        torch.save({"state_dict": state}, self.root / name)

    def copied(self, root: Path, *, without: Collection[str]) -> Place:
        """The same in ``root``, where commands may change the registry; names in ``without`` are left out."""
        shutil.copytree(self.root / "artifacts", root / "artifacts", symlinks=True)
        for path in self.root.iterdir():
            if path.name not in {*without, "artifacts"}:
                (root / path.name).symlink_to(path)
        return Place(root, self.models, self.bank)

    @contextlib.contextmanager
    def used(self, scheduler: str) -> Iterator[None]:
        """Make it the working directory, use the cluster at ``scheduler``, and train and time as little as possible."""
        little = {"SCHEDULER": scheduler, "EPOCHS": "1", "RESAMPLES": "100"}
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.root)
            for name, value in little.items():
                patch.setenv(f"LVM_BATCH_{name}", value)
            patch.setattr(judged_models, "QUERIES", 5)
            patch.setattr("lvm_batch.jobs.reports.report_writer.write_report", lambda *_, **__: None)
            yield
