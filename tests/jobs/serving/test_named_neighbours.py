"""Neighbours over HTTP: each query names how many it wants, and gets those of the model that answers it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.datasets import vectors, windows
from support.served import ARROW, Serving, serving, stream

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

        def start(*, is_nameless: bool = False, neighbours: int = 0, **columns: object) -> Serving:
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
                "neighbours": neighbours,
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


def test_a_service_with_neighbours_names_them_in_every_answer(serve_bank: Callable[..., Serving]) -> None:
    """In Arrow streams as a run's columns, in JSON unless a query says how many; also of contexts alone."""
    served = serve_bank(neighbours=3, id=[f"s{number}" for number in range(300)])
    contexts = windows()[0][:6].copy()
    contexts[2, 0, 0] = np.nan
    lanes = ["general", "sci-fact"] * 3
    table = pa.table({"context": list(contexts.reshape(6, -1)), "lane": lanes, "key": range(6)})
    response = served.post("/predict/batch", data=stream(table), headers=ARROW)
    rows = pa.ipc.open_stream(response.content).read_all().to_pylist()
    assert [row["route"] for row in rows] == ["amn", "gru", None, "gru", "amn", "gru"]
    assert (rows[2]["neighbour_ids"], rows[2]["neighbour_cosines"]) == ([], [])
    queries = [
        {"context": contexts[place].tolist(), "lane": lane} for place, lane in enumerate(lanes) if place != 2
    ]
    answers = served.post("/predict/batch", json={"rows": queries}).json()["answers"]
    for row, answer in zip(rows[:2] + rows[3:], answers, strict=True):
        assert len(row["neighbour_ids"]) == 3
        assert row["neighbour_ids"] == answer["neighbour_ids"]
        np.testing.assert_allclose(row["neighbour_cosines"], answer["neighbour_cosines"], atol=1e-6)
    bare = served.post(
        "/predict/batch", json={"rows": [contexts[0].tolist(), {**queries[0], "neighbours": 0}]}
    )
    first, second = bare.json()["answers"]
    assert first["neighbour_ids"] == rows[0]["neighbour_ids"]
    assert "neighbour_ids" not in second
    assert served.post(json=contexts[0].tolist()).json()["neighbour_ids"] == rows[0]["neighbour_ids"]


def test_a_row_of_several_that_is_no_context_is_refused_by_its_place(
    serve_bank: Callable[..., Serving],
) -> None:
    """A row is an object or a context alone; the whole body is an object."""
    served = serve_bank()
    context = windows()[0][0].tolist()
    for row, place in ((7, []), ([], []), ([context[0], [1.0]], [1])):
        refusal = served.post("/predict/batch", json={"rows": [context, row]})
        assert refusal.status_code == 422
        assert refusal.json()["detail"][0]["loc"] == ["body", "rows", 1, *place]
    refusal = served.post("/predict/batch", json=context)
    assert "must be an object with `rows`" in refusal.json()["detail"][0]["msg"]


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
