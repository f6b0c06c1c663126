"""Compares the output of a run with the answers of a dataset, computed from the weights alone.

The rule: all rows of the dataset come out, in its order or, once packed, each article in reading order; statuses are
equal, predictions and cosines agree to 1e-5.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import torch

from support import reference
from support.wild.pasting import names_of, story_of, the_run

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from support.wild.pasting import Printed
    from support.wild.truth import Answer, Wild

    Row = dict[str, Any]


def check_output(dataset: Wild, done: Sequence[Printed], checkpoint: Path) -> None:
    """Check the output of the run among the commands ``done``, which are shown if it is wrong."""
    story = story_of(done)
    rows = _rows(_output(the_run(done)))
    texts = _texts(rows, dataset, story)
    _check_order(texts, dataset, story, is_sorted="pack" in names_of(done) and bool(dataset.articles))
    answers = [dataset.answers[text] for text in texts]
    assert [row["status"] for row in rows] == [answer.status for answer in answers], story
    predictions = np.array([row["prediction"] for row in rows], np.float32)  # (n, dim)
    assert predictions.shape == (len(rows), dataset.dim), story
    _check_predictions(predictions, answers, torch.load(checkpoint, weights_only=True)["model_state_dict"])
    _check_cosines([row["cosine"] for row in rows], answers, predictions)


def _output(run: Printed) -> Path:
    words = shlex.split(run.command)
    return Path(words[words.index("--output") + 1])


def _rows(output: Path) -> list[Row]:
    """Return all rows of an output, file by file."""
    paths = sorted(path for path in output.rglob("*.parquet") if "_lvm_batch" not in path.parts)
    return [row for path in paths for row in pq.ParquetFile(path).read().to_pylist()]


def _texts(rows: Sequence[Row], dataset: Wild, story: str) -> list[str]:
    """Return each row's text, from whichever column carries the texts."""
    for column in rows[0]:
        texts = [row[column] for row in rows]
        if isinstance(texts[0], str) and set(texts) <= set(dataset.rows):
            assert sorted(texts) == sorted(dataset.rows), f"rows are lost or come twice\n{story}"
            return texts
    raise AssertionError(f"no column carries the texts, only {list(rows[0])}\n{story}")


def _check_order(texts: list[str], dataset: Wild, story: str, *, is_sorted: bool) -> None:
    if not is_sorted:
        assert texts == list(dataset.rows), f"rows are in another order\n{story}"
        return
    for article in dataset.articles:
        first = texts.index(article[0])
        assert texts[first : first + len(article)] == article, f"an article is out of order\n{story}"


def _check_predictions(
    predictions: np.ndarray, answers: Sequence[Answer], weights: reference.Weights
) -> None:
    usable = _places(answer.context is not None for answer in answers)
    contexts = np.stack([answers[place].context for place in usable])
    np.testing.assert_allclose(predictions[usable], reference.amn(weights, contexts), rtol=0, atol=1e-5)
    assert np.isnan(np.delete(predictions, usable, axis=0)).all()


def _check_cosines(cosines: list[float | None], answers: Sequence[Answer], predictions: np.ndarray) -> None:
    known = _places(answer.target is not None for answer in answers)
    assert _places(cosine is not None for cosine in cosines) == known
    if known:
        targets = np.stack([answers[place].target for place in known])
        expected = reference.cosines(predictions[known], targets)
        np.testing.assert_allclose([cosines[place] for place in known], expected, rtol=0, atol=1e-5)


def _places(are: Iterable[bool]) -> list[int]:
    return [place for place, is_so in enumerate(are) if is_so]
