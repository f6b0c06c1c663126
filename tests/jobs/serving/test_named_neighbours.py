"""Neighbours over HTTP: each query names how many it wants, and gets those of the model that answers it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.datasets import vectors, windows
from support.served import Serving, serving

from lvm_batch.io.bank.bank import build_bank
from lvm_batch.io.dataset.files import find_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

WANTED = [0, 3, 1, 0, 7, 2]


@pytest.fixture
def serve_bank(models: Path, tmp_path: Path) -> Iterator[Callable[..., Serving]]:
    """Starts a service over a bank of 300 vectors, with ids or without."""
    from contextlib import ExitStack

    from lvm_batch.jobs.settings.serve import ServeSettings

    with ExitStack() as stack:

        def start(*, is_nameless: bool = False, **columns: object) -> Serving:
            table = pa.table({"vector": list(vectors()[:300]), **columns})
            pq.write_table(table, tmp_path / "bank.parquet")
            build_bank(find_files([str(tmp_path / "bank.parquet")]), str(tmp_path / "bank"))
            if is_nameless:
                (tmp_path / "bank/ids.parquet").unlink()
            chosen: dict[str, Any] = {
                "model": str(models / "amn.pt"),
                "fallback": str(models / "gru.pt"),
                "bank": str(tmp_path / "bank"),
                "min_confidence": -1,
                "min_margin": 0,
            }
            return stack.enter_context(serving(ServeSettings(**chosen)))

        yield start


def queries() -> list[dict[str, Any]]:
    """Queries of both models, each with its wish."""
    lanes = ["general", "sci-fact", "general"] * 2
    return [
        {"context": context.tolist(), "lane": lane} | ({"neighbours": k} if k else {})
        for context, lane, k in zip(windows()[0], lanes, WANTED, strict=False)
    ]


def test_a_query_gets_the_neighbours_that_it_asks_for(serve_bank: Callable[..., Serving]) -> None:
    """In a body of several, each as many as it wants, without its own context; bytes are hexadecimal."""
    served = serve_bank(id=[b"a%d" % number for number in range(300)])
    answers = served.post("/predict/batch", json={"rows": queries()}).json()["answers"]
    assert {answer["route"] for answer in answers} == {"amn", "gru"}
    unit = vectors()[:300] / np.linalg.norm(vectors()[:300], axis=1, keepdims=True)
    for k, context, answer in zip(WANTED, windows()[0], answers, strict=False):
        assert ("neighbour_ids" in answer) == bool(k)
        directions = context / np.linalg.norm(context, axis=1, keepdims=True)
        own = (unit @ directions.T >= 1 - 1e-4).any(axis=1)
        scores = np.where(own, -2, unit @ np.array(answer["prediction"]))
        best = np.argsort(-scores)[:k]
        assert answer.get("neighbour_ids", []) == [(b"a%d" % place).hex() for place in best]
        np.testing.assert_allclose(answer.get("neighbour_cosines", []), scores[best], atol=1e-5)
    single = served.post(json=queries()[4]).json()
    assert single["neighbour_ids"] == answers[4]["neighbour_ids"]


def test_articles_and_positions_name_neighbours_as_objects(serve_bank: Callable[..., Serving]) -> None:
    """A bank without ids names vectors by both, as JSON objects."""
    served = serve_bank(article_id=[f"t{number // 30}" for number in range(300)], position=range(300))
    answer = served.post(json=queries()[1]).json()
    for name in answer["neighbour_ids"]:
        assert name == {"article_id": f"t{name['position'] // 30}", "position": name["position"]}


@pytest.mark.parametrize("wish", [101, -1, 1.5, True, "3", None])
def test_a_wish_that_is_no_number_of_neighbours_is_refused(
    wish: object, serve_bank: Callable[..., Serving]
) -> None:
    """The refusal says where it is; so it does where the bank's file of ids is gone."""
    served = serve_bank(is_nameless=True)
    context = windows()[0][0].tolist()
    for wanted in (wish, 3):
        refusal = served.post(json={"context": context, "neighbours": wanted})
        assert refusal.status_code == 422
        assert refusal.json()["detail"][0]["loc"] == ["body", "neighbours"]
    assert "has no ids" in refusal.json()["detail"][0]["msg"]
