"""The self-check: a few stored rows that a worker must answer as the driver's machine did, before it gets work.

The rule: a worker that answers differently, or cannot answer, is refused by name, with the reason, and computes
nothing.

The rows are windows of the sample that ships with the package, or fixed random ones if the models read vectors of
another width. The expected answers come from the published forward pass, in float32 on a CPU; they travel with the job
in float16, which changes a cosine by 1e-7.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from lvm_batch.lvm.architectures.context_model import ContextModel
    from lvm_batch.lvm.inference.cascade import Cascade

    Floats = npt.NDArray[np.float32]

N_ROWS = 24

BOUNDS = {"fp32": 1e-3, "tf32": 1e-3, "bf16": 5e-3, "fp16": 5e-3, "int8": 5e-2}
"""The largest difference from the stored answer that is allowed, as 1 - cosine, by precision.

CPUs that work stay far below: 1e-7 in fp32, and with the demo's models 1e-5 in bf16 and 1e-4 in int8 (2026-11-23).
Unrelated answers differ by about 1.
"""


@dataclass(frozen=True, slots=True)
class ExpectedAnswers:
    """The stored rows and both models' answers to them, as the bytes of float16 arrays.

    ``vectors`` is (rows + length - 1, dim): every ``length`` vectors in a row are a context. ``primary`` and
    ``fallback`` are (rows, dim).
    """

    length: int
    dim: int
    vectors: bytes
    primary: bytes
    fallback: bytes | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A worker that gets no work, and why.

    ``worker`` is its address; ``off`` is the largest 1 - cosine over the stored rows, ``None`` if it did not answer.
    """

    why: str
    device: str
    off: float | None = None
    worker: str = ""
    host: str = ""

    @property
    def text(self) -> str:
        """The worker and the reason, in one line."""
        return f"{self.worker or 'this process'} ({self.host}, {self.device}) gets no work: {self.why}"

    @property
    def as_dict(self) -> dict[str, Any]:
        """The refusal as JSON values; ``off`` is None if it is not finite."""
        values = {name: getattr(self, name) for name in ("worker", "host", "device", "why")}
        return values | {"off": self.off if self.off is not None and isfinite(self.off) else None}


def expected_answers(
    primary: ContextModel, fallback: ContextModel | None, *, length: int
) -> ExpectedAnswers | None:
    """Return the stored rows of ``length`` vectors with the models' answers; the models are on the CPU, in float32.

    Return ``None`` if an answer is not finite: no worker could do better, and the output reports such rows.
    """
    import numpy as np

    vectors = _sample_vectors(N_ROWS + length - 1, primary.dim)
    contexts = _contexts(vectors, length)
    answers = [_published_answers(model, contexts) for model in (primary, fallback) if model is not None]
    if not all(np.isfinite(each).all() for each in answers):
        return None
    first, *second = (each.astype(np.float16).tobytes() for each in answers)
    return ExpectedAnswers(length, primary.dim, vectors.tobytes(), first, second[0] if second else None)


def check_answers(
    cascade: Cascade, expected: ExpectedAnswers, *, bound: float, device: str
) -> Refusal | None:
    """Let the models answer the stored rows; return the refusal if an answer differs by more than ``bound``."""
    import numpy as np

    from lvm_batch.lvm.inference.cosines import row_cosines

    shape = (-1, expected.dim)
    contexts = _contexts(np.frombuffer(expected.vectors, np.float16).reshape(shape), expected.length)
    off = 0.0
    for predict, stored in ((cascade.primary, expected.primary), (cascade.fallback, expected.fallback)):
        if predict is not None and stored is not None:
            wanted = np.frombuffer(stored, np.float16).astype(np.float32).reshape(shape)
            off = float(np.maximum(off, (1 - row_cosines(predict(contexts), wanted)).max()))
    if off <= bound:
        return None
    found = (
        f"answers differ from the driver's by {off:.2g} in cosine"
        if isfinite(off)
        else "answers are not finite"
    )
    return Refusal(f"of {N_ROWS} stored rows, {found}, where {bound:g} is allowed", device, off)


def sample_contexts(*, length: int, dim: int) -> Floats:
    """Return the contexts of the stored rows, float32 (rows, length, dim), before a model answers them."""
    return _contexts(_sample_vectors(N_ROWS + length - 1, dim), length)


def name_worker(refusal: Refusal, worker: str) -> Refusal:
    """Return the refusal with the worker's address and host."""
    return replace(refusal, worker=worker, host=socket.gethostname())


def _published_answers(model: ContextModel, contexts: Floats) -> Floats:
    import torch

    with torch.inference_mode():
        answers: Floats = model.eval()(torch.from_numpy(contexts)).numpy()
    return answers


def _contexts(vectors: npt.NDArray[np.float16], length: int) -> Floats:
    """Return every window, float32 (n - length + 1, length, dim)."""
    import numpy as np

    rows = np.arange(len(vectors) - length + 1)[:, None] + np.arange(length)
    contexts: Floats = vectors.astype(np.float32)[rows]
    return contexts


def _sample_vectors(n_rows: int, dim: int) -> npt.NDArray[np.float16]:
    """Return the first vectors of the sample, (n_rows, dim) float16; for another ``dim``, fixed random unit vectors."""
    import numpy as np

    sample = _sample(n_rows)
    if sample.shape == (n_rows, dim):
        return sample
    noise = np.random.default_rng(0).standard_normal((n_rows, dim))
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    return noise.astype(np.float16)


def _sample(n_rows: int) -> npt.NDArray[np.float16]:
    from importlib.resources import as_file, files

    import numpy as np
    import pyarrow.parquet as pq

    with (
        as_file(files("lvm_batch.io.sample") / "wikipedia_sample.parquet") as path,
        pq.ParquetFile(path) as file,
    ):
        vectors = file.read_row_group(0, columns=["vector"], use_threads=False)["vector"].combine_chunks()
    flat = np.from_dlpack(vectors.flatten())  # to_numpy() imports pandas, if installed, for 0.2 s
    return flat.reshape(len(vectors), -1)[:n_rows].astype(np.float16)
