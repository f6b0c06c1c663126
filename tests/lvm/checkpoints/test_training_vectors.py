"""Tests of the digest by which a model tells the vectors that it was trained on."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from lvm_batch.lvm import CheckpointError, build_model, load_checkpoint, save_checkpoint
from lvm_batch.lvm.checkpoints import training_vectors
from lvm_batch.lvm.checkpoints.training_vectors import (
    CONTENT_KEY,
    NEW,
    SEEN,
    UNTOLD,
    TrainingVectors,
    training_vectors_of,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

DIM = 64
SIZES = {"input_dim": DIM, "d_model": 4, "hidden_dim": 6}


def alike(n_vectors: int, seed: int) -> Floats:
    """Vectors of an encoder whose vectors are all alike: two of them have a cosine of about 0.9."""
    rng = np.random.default_rng(seed)
    common = 3 * np.random.default_rng(99).standard_normal(DIM)
    return (common + rng.standard_normal((n_vectors, DIM))).astype(np.float32)


def saved(path: Path, digest: TrainingVectors | None) -> bytes:
    """A small checkpoint with a digest."""
    model = build_model("amn", seed=0, **SIZES)
    facts: dict[str, Any] = {"architecture": "amn", "epoch": 1, "val_loss": None, "val_cosine": None}
    save_checkpoint(path, model, **facts, training_vectors=digest)
    return path.read_bytes()


@pytest.mark.parametrize("scale", [1.0, 0.01, 250.0])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_vector_is_recognised_however_it_is_stored(dtype: type[np.floating], scale: float) -> None:
    """Float16, 32 or 64, of unit norm or not: at least 99.5 % of vectors are recognised, whatever the training had."""
    original = alike(4000, seed=1).astype(np.float64)
    norms = np.linalg.norm(original, axis=1, keepdims=True)
    for trained_on in (original, (original / norms).astype(np.float16)):
        digest = TrainingVectors.of(trained_on.astype(np.float32))
        told = digest.tell((original / norms * scale).astype(dtype).astype(np.float32))
        assert (told == SEEN).mean() > 0.995


def test_new_vectors_are_taken_for_seen_ones_as_rarely_as_the_digest_says() -> None:
    """The rate follows from the filter, also where all vectors of an encoder are alike."""
    digest = TrainingVectors.of(alike(20_000, seed=1))
    assert digest.false_positive_rate == pytest.approx(0.002, abs=0.0004)
    found = (digest.tell(alike(30_000, seed=2)) == SEEN).mean()
    assert found == pytest.approx(digest.false_positive_rate, abs=0.0015)


def test_of_many_vectors_a_share_is_kept_and_the_others_stay_untold(monkeypatch: pytest.MonkeyPatch) -> None:
    """A digest has a bounded size: it tells of a share of vectors, and never calls another one new."""
    monkeypatch.setattr(training_vectors, "CAPACITY", 1000)
    vectors = alike(5000, seed=1)
    digest = TrainingVectors.of(vectors)
    told, others = digest.tell(vectors), digest.tell(alike(5000, seed=2))
    assert (digest.n_vectors, digest.share) == (5000, 0.2)
    assert (told == SEEN).mean() == pytest.approx(0.2, abs=0.03)
    assert not (told == NEW).any()
    assert (others == NEW).mean() == pytest.approx(0.2, abs=0.03)
    assert (others == SEEN).mean() < 0.01


def test_a_row_is_seen_by_its_target_or_by_its_whole_context() -> None:
    """One known vector in a context, such as a heading that many texts share, does not make a row a known one."""
    known, new = alike(6, seed=1), alike(6, seed=2)
    digest = TrainingVectors.of(known)
    contexts = np.stack([known[:5], new[:5], known[:5], [*new[:4], known[0]], new[:5]])
    targets = np.stack([known[5], new[5], new[5], new[5], known[5]])
    assert digest.tell_rows(contexts, targets).tolist() == [SEEN, NEW, SEEN, NEW, SEEN]
    assert digest.tell_rows(contexts, None).tolist() == [SEEN, NEW, SEEN, NEW, NEW]
    nothing = np.zeros((1, 5, DIM), np.float32)
    assert digest.tell_rows(nothing, nothing[:, 0]).tolist() == [UNTOLD]


def test_vectors_without_a_direction_are_in_no_digest() -> None:
    """Zeros, NaN and infinity are skipped, and are never recognised; the largest and the smallest floats are."""
    vectors = alike(4, seed=1)
    odd = np.full((3, DIM), [[0.0], [np.nan], [np.inf]], np.float32)
    digest = TrainingVectors.of(np.concatenate([odd, vectors]))
    assert digest.n_vectors == 4
    assert digest.tell(odd).tolist() == [UNTOLD] * 3
    assert digest.tell(vectors * np.float32(1e37)).tolist() == [SEEN] * 4
    assert digest.tell(vectors * np.float32(1e-37)).tolist() == [SEEN] * 4
    assert TrainingVectors.of(odd).tell(vectors).tolist() == [NEW] * 4


def test_a_checkpoint_keeps_its_digest(tmp_path: Path) -> None:
    """It comes back from the file by safe loading, with torch and without; a file without one has none."""
    vectors = alike(50, seed=1)
    digest = TrainingVectors.of(vectors)
    data = saved(tmp_path / "a.pt", digest)
    torch.load(io.BytesIO(data), weights_only=True)
    for found in (load_checkpoint(data, "a.pt").training_vectors, training_vectors_of(data, "a.pt")):
        assert found is not None
        assert found.as_content() == digest.as_content()
        assert (found.tell(vectors) == SEEN).all()
    data = saved(tmp_path / "b.pt", None)
    assert load_checkpoint(data, "b.pt").training_vectors is None
    assert training_vectors_of(data, "b.pt") is None


def test_a_digest_of_the_largest_size_is_small() -> None:
    """It stays below 160 kB, however many vectors a model was trained on."""
    rng = np.random.default_rng(0)
    digest = TrainingVectors.of(rng.standard_normal((70_000, 8), dtype=np.float32))
    assert digest.share < 1
    assert len(str(digest.as_content())) < 160_000


@pytest.mark.parametrize(
    "change",
    [{"bits": "no base64!"}, {"mean": ""}, {"share": 0.0}, {"n_vectors": "many"}, {"bits": "A" * 2**19}],
)
def test_a_damaged_digest_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    """A digest that no version has written is an error that names the file, and a later format is none."""
    content = TrainingVectors.of(alike(5, seed=1)).as_content()
    with pytest.raises(ValueError, match="damaged"):
        TrainingVectors.from_content(content | change)
    assert TrainingVectors.from_content(content | change | {"format": 2}) is None
    file = io.BytesIO()
    state = build_model("amn", seed=0, **SIZES).state_dict()
    torch.save({"model_state_dict": state, CONTENT_KEY: content | change}, file)
    with pytest.raises(CheckpointError, match=r"a\.pt"):
        load_checkpoint(file.getvalue(), "a.pt")


def test_a_digest_of_vectors_of_another_width_is_refused(tmp_path: Path) -> None:
    """The weights decide the width; a digest that contradicts them belongs to another model."""
    narrow = TrainingVectors.of(alike(5, seed=1)[:, :8].copy())
    with pytest.raises(CheckpointError, match="trained on have 8 components"):
        load_checkpoint(saved(tmp_path / "a.pt", narrow), "a.pt")
