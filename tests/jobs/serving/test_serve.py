"""``serve`` over HTTP, on a real server and port, answers as a run does for the same rows."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
from support import reference
from support.command import called
from support.datasets import encode, windows, write_windows
from support.served import ARROW, Serving, serving, stream
from support.waiting import HANG_S

from lvm_batch import decode_predictions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

pytest.importorskip("fastapi", reason='pip install "lvm-batch[serve]"')

ROUTING = reference.ROUTING | {"shadow_rate": 0}

N_ROWS = 60


@pytest.fixture(scope="module")
def settings(models: Path, bank: Path) -> Callable[..., Any]:
    """The settings of a service with fresh models and a bank."""
    from lvm_batch.jobs.settings.serve import ServeSettings

    given = {
        "model": str(models / "amn.pt"),
        "fallback": str(models / "gru.pt"),
        "bank": str(bank),
        **ROUTING,
    }
    return lambda **more: ServeSettings(**given | more)


@pytest.fixture(scope="module")
def served(settings: Callable[..., Any]) -> Iterator[Serving]:
    """A service that tests share and only query; its small batches split a body."""
    with serving(settings(max_batch=16, max_body="2MB")) as started:
        yield started


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Windows with targets, lanes and token counts, some of them null, and three bad rows at the end."""
    contexts, targets = (array[:N_ROWS].copy() for array in windows())
    contexts[-1, 2, 7], contexts[-2, 0, 0], contexts[-3] = np.nan, np.inf, 0
    rng = np.random.default_rng(3)
    lanes = [None, *rng.choice(["general", "sci-fact"], N_ROWS - 1, p=[0.8, 0.2]).tolist()]
    tokens = [None, *rng.integers(370, 390, N_ROWS - 1).tolist()]
    columns = {"key": np.arange(N_ROWS), "lane": lanes, "context_tokens": pa.array(tokens, pa.int64())}
    folder = tmp_path_factory.mktemp("serve")
    return write_windows(folder / "in.parquet", contexts, targets, columns=columns)


@pytest.fixture(scope="module")
def expected(dataset: Path, models: Path, bank: Path, scheduler: str) -> pa.Table:
    """A run's output for these rows."""
    output = dataset.parent / "out"
    flags = reference.as_options(ROUTING)
    chosen = ["--model", str(models / "amn.pt"), "--fallback", str(models / "gru.pt"), "--bank", str(bank)]
    running = ["--output", str(output), "--scheduler", scheduler, "--max-bad-rows", "1"]
    called("run", dataset, *chosen, *running, *flags).done()
    return pq.read_table(output / "in-00000.parquet")


@pytest.fixture(scope="module")
def queries(dataset: Path) -> list[dict[str, Any]]:
    """The same rows as queries, without the bad ones."""
    rows = pq.read_table(dataset).slice(0, N_ROWS - 3).to_pylist()
    return [
        {
            "context": np.reshape(row["context"], (5, 768)).tolist(),
            "lane": row["lane"],
            "context_tokens": row["context_tokens"],
            "target": row["target"],
        }
        for row in rows
    ]


def assert_answers(answer: dict[str, Any], row: dict[str, Any]) -> None:
    """Check that an answer equals the row of a run."""
    assert (answer["route"], answer["reasons"]) == (row["route"], row["escalation_reasons"])
    np.testing.assert_allclose(answer["prediction"], row["prediction"], atol=1e-5)
    for name in ("confidence", "margin", "cosine"):
        assert answer[name] == pytest.approx(row[name], abs=1e-5)


def test_a_single_query_is_answered_as_a_run_answers_the_row(
    served: Serving, queries: list[dict[str, Any]], expected: pa.Table
) -> None:
    """Vectors agree within 1e-5, route and reasons are the same, for rows of every reason."""
    rows = expected.to_pylist()
    assert {reason for row in rows for reason in row["escalation_reasons"]} == {
        "low_confidence",
        "high_stakes_lane",
        "long_context",
        "low_margin",
    }
    assert {"amn", "gru"} <= {row["route"] for row in rows}
    for query, row in zip(queries, rows, strict=False):
        response = served.post(json=query)
        assert response.status_code == 200
        assert_answers(response.json(), row)


def test_the_model_is_named_that_gave_the_answer(served: Serving, queries: list[dict[str, Any]]) -> None:
    """``model`` belongs to ``route``, and ``/ready`` reports the same names."""
    models = requests.get(f"{served.url}/ready", timeout=HANG_S).json()["models"]
    for lane, route in (("general", "amn"), ("sci-fact", "gru")):
        query = {"context": queries[1]["context"], "lane": lane}
        answers = [served.post(json=query).json() for query in ({**q, "lane": lane} for q in [query])]
        assert answers[0]["model"] == models[answers[0]["route"]]
        if lane == "sci-fact":
            assert answers[0]["route"] == route


def test_a_body_of_queries_is_answered_in_their_order(
    served: Serving, queries: list[dict[str, Any]], expected: pa.Table
) -> None:
    """More rows than a batch holds all come back, in order."""
    response = served.post("/predict/batch", json={"rows": queries[:20]})
    answers = response.json()["answers"]
    assert len(answers) == 20
    for answer, row in zip(answers, expected.to_pylist(), strict=False):
        assert_answers(answer, row)


def test_an_arrow_stream_is_answered_with_the_columns_of_a_run(
    served: Serving, dataset: Path, expected: pa.Table
) -> None:
    """The schema and the values are the same, and bad rows stay in their place with their reason."""
    response = served.post("/predict/batch", data=stream(pq.read_table(dataset)), headers=ARROW)
    assert response.headers["content-type"] == ARROW["content-type"]
    table = pa.ipc.open_stream(response.content).read_all()
    assert table.schema.equals(expected.schema.remove_metadata())
    for answer, row in zip(table.to_pylist(), expected.to_pylist(), strict=True):
        np.testing.assert_allclose(answer.pop("prediction"), row.pop("prediction"), atol=1e-5)
        for name in ("confidence", "margin", "cosine", "amn_cosine", "gru_cosine"):
            assert answer.pop(name) == pytest.approx(row.pop(name), abs=1e-5)
        assert answer == row
    assert table["status_detail"].to_pylist()[-3:] == ["zero_norm", "inf", "nan"]


def test_an_arrow_stream_is_answered_in_the_type_of_the_settings(
    settings: Callable[..., Any], dataset: Path, expected: pa.Table
) -> None:
    """With --output-dtype int8, predictions are codes, which decode to what float32 answers."""
    with serving(settings(output_dtype="int8")) as started:
        response = started.post("/predict/batch", data=stream(pq.read_table(dataset)), headers=ARROW)
    table = pa.ipc.open_stream(response.content).read_all()
    assert table["prediction"].type == pa.list_(pa.int8(), 768)
    np.testing.assert_allclose(decode_predictions(table), decode_predictions(expected), atol=0.006)


def test_a_stream_without_rows_is_answered_without_rows(served: Serving, dataset: Path) -> None:
    """An empty table gets an empty table."""
    empty = pq.read_table(dataset).slice(0, 0)
    response = served.post("/predict/batch", data=stream(empty), headers=ARROW)
    assert pa.ipc.open_stream(response.content).read_all().num_rows == 0


def test_requests_that_come_together_are_taken_together(
    served: Serving, queries: list[dict[str, Any]], expected: pa.Table
) -> None:
    """Under load rows of several requests form one batch, and each request gets its own answer."""
    before = served.metric("lvm_batch_batch_rows_count"), served.metric("lvm_batch_batch_rows_sum")
    answers: dict[int, Any] = {}
    threads = [
        threading.Thread(target=lambda i=i: answers.update({i: served.post(json=queries[i]).json()}))
        for i in range(len(queries))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, row in enumerate(expected.to_pylist()[: len(queries)]):
        assert_answers(answers[i], row)
    batches = served.metric("lvm_batch_batch_rows_count") - before[0]
    assert served.metric("lvm_batch_batch_rows_sum") - before[1] == len(queries)
    assert batches < len(queries)


def test_short_contexts_are_padded_as_in_a_run(served: Serving, queries: list[dict[str, Any]]) -> None:
    """The first of two vectors is repeated to make five; of more than five the last five count."""
    context = queries[0]["context"]
    short = served.post(json={"context": context[3:]}).json()
    assert short["status_detail"] == "padded: 2"
    whole = served.post(json={"context": [context[3]] * 4 + [context[4]]}).json()
    np.testing.assert_allclose(short["prediction"], whole["prediction"], atol=1e-6)
    longer = served.post(json={"context": context[:2] + context}).json()
    plain = served.post(json={"context": context}).json()
    np.testing.assert_allclose(longer["prediction"], plain["prediction"], atol=1e-6)


@pytest.mark.parametrize("pad", ["zero", "reject"])
def test_padding_follows_the_setting(
    settings: Callable[..., Any], queries: list[dict[str, Any]], pad: str
) -> None:
    """Zeros are put in front, or the query is refused."""
    from lvm_batch.jobs.serving.bodies import Refusal
    from lvm_batch.jobs.serving.json_bodies import QueryReader

    reader = QueryReader(length=5, dim=768, pad=pad)  # type: ignore[arg-type]
    body = json.dumps({"context": queries[0]["context"][3:]}).encode()
    if pad == "reject":
        with pytest.raises(Refusal) as refusal:
            reader.query(body)
        assert refusal.value.detail[0].type == "wrong_length"
        return
    query = reader.query(body)
    np.testing.assert_allclose(query.rows.contexts[0, 3:], queries[0]["context"][3:], atol=1e-7)
    assert not query.rows.contexts[0, :3].any()


@pytest.mark.parametrize(
    "body",
    [
        '{"context": [[1, 2], [3, 4]]}',
        '{"context": [[1, 2.5], [3, -4e-3]], "lane": "[", "context_tokens": 3}',
        '{"context": [[1, 2], [3, 4]], "target": [1, 2]}',
        '{"context": [[1, 2], [3, 4]], "context": [[5, 6], [7, 8]]}',
        '{"context": [[1, true], [3, 4]]}',
        '{"context": [[1, null], [3, 4]]}',
        '{"context": [[1, "2"], [3, 4]]}',
        '{"context": [[1, [2]], [3, 4]]}',
        '{"context": [[[1, 2], []], [3, 4]]}',
        '{"context": [[1, 2], [3]]}',
        '{"context": [[1, 2], [3e38, 4]]}',
        '{"context": [[1, 2], [1e39, 4]]}',
        '{"context": [[1, 18446744073709551616], [3, 4]]}',
        '{"context": [[1e-300, 0], [0, 0]]}',
        '{"context": [[1e-60, 0], [0, 0]]}',
        '{"context": [[1e-44, 0], [0, 0]]}',
        '{"context": [[1, 2], [0, 0], [0, 0]]}',
        '{"context": [1, 2]}',
        '{"context": {}}',
        '{"context": []}',
        '{"context": [[1, 2], [3, 4]], "lane": 1}',
        '{"context": [[1, 2], [3, 4]], "context_tokens": true}',
        '{"context": [[1, 2], [3, 4]], "context_tokens": -1}',
        "[[1, 2], [3, 4]]",
        "[[1, 2], [3, 4], [5, 6]]",
        "[[1, 2]]",
        "[[1, 2], [3, true]]",
        "[[1, 2], [3]]",
        "[[0, 0], [0, 0]]",
        '[{"context": [[1, 2], [3, 4]]}]',
        "[1, 2]",
        "[]",
        '"["',
        "[" * 5000,
        "1",
        "",
    ],
)
def test_the_quick_reader_reads_what_the_thorough_one_reads(
    body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without simdjson, a body gives the same query or the same refusal."""
    pytest.importorskip("simdjson", reason="without it there is one reader")
    from lvm_batch.jobs.serving.bodies import Refusal
    from lvm_batch.jobs.serving.json_bodies import QueryReader
    from lvm_batch.jobs.serving.json_vectors import QuickReader

    def outcome() -> object:
        try:
            query = QueryReader(length=2, dim=2, pad=None).query(body.encode())
        except Refusal as refusal:
            return refusal.detail
        return query.rows.contexts.tolist(), query.rows.lanes, str(query.rows.context_tokens), query.detail

    quick = outcome()
    monkeypatch.setattr(QuickReader, "read", lambda *_: None)
    assert quick == outcome()


@pytest.mark.parametrize("has_simdjson", [True, False])
def test_a_context_alone_is_a_query_of_nothing_else(
    *, has_simdjson: bool, monkeypatch: pytest.MonkeyPatch, queries: list[dict[str, Any]]
) -> None:
    """A bare list of vectors gives the rows of an object with that context, with simdjson and without."""
    from lvm_batch.jobs.serving.json_bodies import QueryReader

    if not has_simdjson:
        monkeypatch.setitem(sys.modules, "simdjson", None)
    reader = QueryReader(length=5, dim=768, pad=None)
    for context in (queries[0]["context"], queries[0]["context"][3:]):
        alone = reader.query(json.dumps(context).encode())
        within = reader.query(json.dumps({"context": context}).encode())
        np.testing.assert_array_equal(alone.rows.contexts, within.rows.contexts)
        assert (tuple(alone.rows.lanes), alone.rows.targets) == ((None,), None)
        assert alone.detail == within.detail


def test_a_context_alone_is_answered_as_within_an_object(
    served: Serving, queries: list[dict[str, Any]]
) -> None:
    """``/predict`` takes both, and OpenAPI says so."""
    context = queries[0]["context"]
    assert served.post(json=context).json() == served.post(json={"context": context}).json()
    described = requests.get(f"{served.url}/openapi.json", timeout=HANG_S).json()["paths"]["/predict"]["post"]
    schemas = described["requestBody"]["content"]["application/json"]["schema"]["anyOf"]
    assert [schema.get("type", schema.get("$ref")) for schema in schemas] == [
        "#/components/schemas/Query",
        "array",
    ]


@pytest.mark.parametrize(
    ("body", "place", "kind"),
    [
        ([], [], "wrong_length"),
        ([[1.0] * 767], [0], "wrong_length"),
        ([[1.0] * 768, [None] + [1.0] * 767], [1, 0], "null"),
        ([1.0] * 3840, [0], "wrong_type"),
        ([{"context": [[1.0] * 768]}], [0], "wrong_type"),
        ([[0] * 768] * 5, [], "zero_norm"),
        ([[3e38] * 768] * 5, [], "inf"),
        ("context", [], "wrong_type"),
        (None, [], "wrong_type"),
    ],
)
def test_a_wrong_context_alone_is_refused_with_its_place(
    served: Serving, body: object, place: list[Any], kind: str
) -> None:
    """The place begins at the body, which is the context: 422 names it, and the reason."""
    response = served.post(data=json.dumps(body), headers={"content-type": "application/json"})
    assert response.status_code == 422
    wrong = response.json()["detail"][0]
    assert (wrong["loc"], wrong["type"]) == (["body", *place], kind)


def flawed(context: list[Any], value: object) -> str:
    """A body with ``value`` at [2][17] of its context."""
    vectors = [list(vector) for vector in context]
    vectors[2][17] = value
    return json.dumps({"context": vectors})


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (1e39, "inf"),
        (10**400, "inf"),
        (2**128 - 2**103 - 1, "inf"),
        (None, "null"),
        ("1", "wrong_type"),
        (True, "wrong_type"),
        ([1.0], "wrong_type"),
    ],
)
def test_what_is_no_number_is_refused_with_its_place(
    served: Serving, queries: list[dict[str, Any]], value: object, kind: str
) -> None:
    """NaN, infinity, null and Python's other numbers: 422 names the place and the reason."""
    response = served.post(
        data=flawed(queries[0]["context"], value), headers={"content-type": "application/json"}
    )
    assert response.status_code == 422
    [wrong] = response.json()["detail"]
    assert (wrong["loc"], wrong["type"]) == (["body", "context", 2, 17], kind)


@pytest.mark.parametrize(
    ("change", "place", "kind"),
    [
        ({"context": None}, ["context"], "null"),
        ({"context": []}, ["context"], "wrong_length"),
        ({"context": [[1.0] * 767]}, ["context", 0], "wrong_length"),
        ({"context": [1.0] * 3840}, ["context", 0], "wrong_type"),
        ({"context": [[0] * 768] * 5}, ["context"], "zero_norm"),
        ({"context": [[1.0] * 768] + [[0] * 768] * 5}, ["context"], "zero_norm"),
        ({"context": [[3e38] * 768] * 5}, ["context"], "inf"),
        ({"lane": 3}, ["lane"], "wrong_type"),
        ({"context_tokens": -1}, ["context_tokens"], "wrong_type"),
        ({"context_tokens": True}, ["context_tokens"], "wrong_type"),
        ({"target": [1.0]}, ["target"], "wrong_length"),
        ({"contxt": 1}, ["contxt"], "unknown"),
        ({"\ud800": 1}, ["\\ud800"], "unknown"),
    ],
)
def test_wrong_values_are_refused_with_their_place(
    served: Serving, queries: list[dict[str, Any]], change: dict[str, Any], place: list[Any], kind: str
) -> None:
    """Shapes, types and unknown keys: 422 names the place, in one query and in a body of several."""
    wrong_query = {**queries[0], **change}
    for path, body, start in (
        ("/predict", wrong_query, ["body"]),
        ("/predict/batch", {"rows": [queries[0], wrong_query]}, ["body", "rows", 1]),
    ):
        response = served.post(path, json=body)
        assert response.status_code == 422
        detail = response.json()["detail"]
        assert (detail[0]["loc"], detail[0]["type"]) == (start + place, kind)


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b"[]", b'{"rows": []}', b"\xff\xfe"])
@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
def test_what_is_no_query_is_refused(served: Serving, path: str, body: bytes) -> None:
    """A body that is not JSON, or not an object with the right keys, is refused with 422."""
    response = served.post(path, data=body, headers={"content-type": "application/json"})
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"][0] == "body"


def test_a_stream_that_is_none_is_refused(served: Serving, dataset: Path) -> None:
    """Bytes that are no stream, a truncated stream, and columns that hold no windows are refused with 422."""
    whole = stream(pq.read_table(dataset))
    columns = stream(pa.table({"context": pa.array([1, 2]), "vector": pa.array([1, 2])}))
    named = stream(pq.read_table(dataset).append_column("qqqq", pa.array(range(N_ROWS))))
    no_text = named.replace(b"qqqq", b"q\xff\xfeq")
    bad_columns = ((columns, "columns"), (no_text, "columns"))
    for body, kind in ((b"nothing", "arrow_invalid"), (whole[:9000], "arrow_invalid"), *bad_columns):
        response = served.post("/predict/batch", data=body, headers=ARROW)
        assert (response.status_code, response.json()["detail"][0]["type"]) == (422, kind)


def test_a_column_of_the_wrong_width_is_named(served: Serving) -> None:
    """The message is the same as in a run."""
    table = pa.table({"context": encode(np.ones((2, 5, 12), np.float32), "binary")})
    response = served.post("/predict/batch", data=stream(table), headers=ARROW)
    assert "`context`" in response.json()["detail"][0]["msg"]


def test_other_types_are_refused(served: Serving) -> None:
    """The answer 415 lists the accepted types."""
    response = served.post(data=b"x", headers={"content-type": "text/plain"})
    assert response.status_code == 415
    assert "application/json" in response.json()["detail"][0]["msg"]


def test_metrics_count_what_was_answered(served: Serving, queries: list[dict[str, Any]]) -> None:
    """Metrics count requests by status, rows by route, and reasons."""
    before = [served.metric(f'lvm_batch_rows_total{{route="{route}"}}') for route in ("amn", "gru")]
    served.post(json={**queries[0], "lane": "sci-fact"})
    after = [served.metric(f'lvm_batch_rows_total{{route="{route}"}}') for route in ("amn", "gru")]
    assert [b - a for a, b in zip(before, after, strict=True)] == [0, 1]
    assert served.metric('lvm_batch_escalation_reasons_total{reason="high_stakes_lane"}') >= 1
    assert served.metric('lvm_batch_requests_total{path="/predict",status="200"}') >= 1


def test_rows_without_an_answer_are_not_counted(
    served: Serving, dataset: Path, queries: list[dict[str, Any]]
) -> None:
    """A stream's bad rows, a query that overflows, and a body that is refused for one of its rows do not count."""
    names = ("lvm_batch_rows_total", "lvm_batch_escalation_reasons_total")
    labels = ("route", ("amn", "gru")), ("reason", ("high_stakes_lane", "long_context"))
    samples = [
        f'{name}{{{label}="{value}"}}'
        for name, (label, values) in zip(names, labels, strict=True)
        for value in values
    ]
    before = [served.metric(sample) for sample in samples]
    flawed = pq.read_table(dataset).slice(N_ROWS - 3).drop_columns("lane")
    flawed = flawed.append_column("lane", pa.array(["sci-fact"] * 3))
    huge = {"context": [[3e38] * 768] * 5, "lane": "sci-fact"}
    assert served.post("/predict/batch", data=stream(flawed), headers=ARROW).status_code == 200
    assert served.post(json=huge).status_code == 422
    assert served.post("/predict/batch", json={"rows": [*queries[:2], huge]}).status_code == 422
    assert [served.metric(sample) for sample in samples] == before


def test_a_row_that_cannot_be_used_is_not_escalated(served: Serving) -> None:
    """The fallback gets no rows without an answer, whatever their lane."""
    from lvm_batch.jobs.serving.rows import Rows

    contexts = np.zeros((2, 5, 768), np.float32)
    contexts[1] = 1
    rows = Rows(contexts, ["sci-fact"] * 2, np.zeros(2), None, np.array([False, True]))
    assert served.service._loaded.answerer.judge(rows).escalated.tolist() == [False, True]


def test_both_models_are_warm_whatever_is_escalated(
    settings: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fallback has answered one row and many before its first query."""
    from lvm_batch.jobs.serving import loading

    sizes: list[int] = []
    load_cascade = loading.load_cascade

    def watched(models: Any) -> Any:  # noqa: ANN401 - those of the original
        cascade = load_cascade(models)
        fallback = cascade.fallback
        assert fallback is not None
        return replace(cascade, fallback=lambda rows: (sizes.append(len(rows)), fallback(rows))[1])

    monkeypatch.setattr(loading, "load_cascade", watched)
    loading.load(settings(bank=None, max_batch=4, high_stakes_lane=("legal",)))
    assert {1, 4} <= set(sizes)


def test_examples_of_openapi_work(served: Serving) -> None:
    """The examples in OpenAPI are valid requests."""
    paths = requests.get(f"{served.url}/openapi.json", timeout=HANG_S).json()["paths"]
    for path in ("/predict", "/predict/batch"):
        example = paths[path]["post"]["requestBody"]["content"]["application/json"]["example"]
        assert served.post(path, json=example).status_code == 200


def test_fastapi_leads_to_the_same_endpoints(
    settings: Callable[..., Any], queries: list[dict[str, Any]]
) -> None:
    """The shortcut past FastAPI's router changes no answer, valid or not."""
    with serving(settings()) as started:
        rows = {"rows": queries[:2]}
        bodies = [("/predict", queries[0]), ("/predict/batch", rows), ("/predict", {"context": None})]
        direct = [started.post(path, json=body) for path, body in bodies]
        started.service._endpoints_by_path.clear()
        routed = [started.post(path, json=body) for path, body in bodies]
    assert [answer.status_code for answer in direct] == [200, 200, 422]
    for one, other in zip(direct, routed, strict=True):
        assert (one.status_code, one.content) == (other.status_code, other.content)
        assert one.headers["content-type"] == other.headers["content-type"]


def test_a_query_is_read_without_simdjson(
    monkeypatch: pytest.MonkeyPatch, queries: list[dict[str, Any]]
) -> None:
    """The library only makes reading faster."""
    from lvm_batch.jobs.serving.json_bodies import QueryReader

    monkeypatch.setitem(sys.modules, "simdjson", None)
    query = QueryReader(length=5, dim=768, pad=None).query(json.dumps(queries[0]).encode())
    np.testing.assert_array_equal(query.rows.contexts[0], np.float32(queries[0]["context"]))


def test_batches_take_what_waits() -> None:
    """A batch takes the rows that wait when the models are free, up to the limit, in order."""
    from lvm_batch.jobs.serving.batcher import Batcher
    from lvm_batch.jobs.serving.rows import Answers, Rows

    sizes: list[int] = []
    busy, free = threading.Event(), threading.Event()

    class Echo:
        """Answers each row with its own first number, once it is released."""

        def __call__(self, rows: Rows) -> Answers:
            n_rows = len(rows)
            busy.set()
            free.wait(HANG_S)
            none = np.zeros(n_rows, bool)
            return Answers(rows.contexts[:, 0], none, none, *([rows.contexts[:, 0, 0]] * 4), none)

    def row(value: int, n_rows: int = 1) -> Rows:
        return Rows(
            np.full((n_rows, 1, 1), value, np.float32),
            [None] * n_rows,
            np.zeros(n_rows),
            None,
            np.ones(n_rows, bool),
        )

    async def answers_of_all() -> list[float]:
        batcher = Batcher(Echo(), max_rows=4, inline_rows=0, took=sizes.append)  # type: ignore[arg-type]
        first = asyncio.ensure_future(batcher.answer(row(0)))
        await asyncio.to_thread(busy.wait, HANG_S)
        numbers = ((1, 1), (2, 3), (3, 2), (4, 1))
        rest = [asyncio.ensure_future(batcher.answer(row(value, n_rows))) for value, n_rows in numbers]
        await asyncio.sleep(0)  # all wait in the queue
        free.set()
        answers = await asyncio.gather(first, *rest)
        batcher.close()
        return [float(answer.confidence[0]) for answer in answers]

    assert asyncio.run(answers_of_all()) == [0, 1, 2, 3, 4]
    assert sizes == [1, 4, 3]
