"""``serve`` under too much or too slow input, during a stop, and after an internal failure."""

from __future__ import annotations

import asyncio
import json
import threading
import tracemalloc
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import requests
from support.datasets import assert_same_rows
from support.served import ARROW, Serving, serving, stream
from support.waiting import HANG_S, wait_until

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

pytest.importorskip("fastapi", reason='pip install "lvm-batch[serve]"')

QUERY = {"context": (np.arange(3840).reshape(5, 768) / 3840 + 0.5).tolist()}
BODY = json.dumps(QUERY).encode()
HEAD = (
    "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    f"content-length: {len(BODY)}\r\n\r\n"
).encode()


@pytest.fixture(scope="module")
def settings(models: Path) -> Callable[..., Any]:
    """The settings of a service with fresh models."""
    from lvm_batch.jobs.settings.serve import ServeSettings

    given = {"model": str(models / "amn.pt"), "fallback": str(models / "gru.pt"), "shadow_rate": 0}
    return lambda **more: ServeSettings(**given | more)


@pytest.fixture(scope="module")
def served(settings: Callable[..., Any]) -> Iterator[Serving]:
    """A service that tests share and only query."""
    with serving(settings(max_body="3MB", max_batch=64)) as started:
        yield started


def contexts_of(rows: np.ndarray) -> pa.Table:
    """A table of contexts of 3,840 floats."""
    return pa.table({"context": pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), 3840)})


@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
def test_bodies_have_a_limit(served: Serving, path: str) -> None:
    """A body over ``--max-body`` is refused (413), by its declared and by its real length."""
    large = b" " * 3_000_001

    def in_parts() -> Iterator[bytes]:
        yield from (large[start : start + 65536] for start in range(0, len(large), 65536))

    for data in (large, in_parts()):
        response = served.post(path, data=data, headers={"content-type": "application/json"})
        assert response.status_code == 413


def test_a_query_has_a_limit(served: Serving) -> None:
    """Contexts with up to twenty times the vectors that count are read; a much larger body is refused unread."""
    longer = {"context": QUERY["context"] * 20}
    prediction, plain = (served.post(json=query).json()["prediction"] for query in (longer, QUERY))
    np.testing.assert_allclose(prediction, plain, atol=1e-6)
    huge = b"[" + b"1," * 1_300_000 + b"1]"
    assert served.post(data=huge, headers={"content-type": "application/json"}).status_code == 413


def test_a_large_query_is_read_beside_the_others(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finding the error in it takes long, so the thread that reads requests does not do it."""
    from lvm_batch.jobs.serving.json_bodies import QueryReader

    readers: list[str] = []
    query = QueryReader.query

    def watched(reader: QueryReader, body: bytes) -> object:
        readers.append(threading.current_thread().name)
        return query(reader, body)

    monkeypatch.setattr(QueryReader, "query", watched)
    for n_times in (1, 20):
        wrong = {"context": QUERY["context"] * n_times + [[None] * 768]}
        response = served.post(json=wrong)
        assert (response.status_code, response.json()["detail"][0]["type"]) == (422, "null")
    assert readers[0] != readers[1]


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
def test_what_a_stream_unpacks_to_is_known_before(compression: str | None) -> None:
    """The size of its buffers is known for vectors, text, dictionaries, nulls, and what does not compress."""
    from lvm_batch.jobs.serving.arrow_sizes import stream_size

    rng = np.random.default_rng(0)
    columns = {
        "zeros": np.zeros(5000, np.float32),
        "noise": rng.standard_normal(5000),
        "text": [None, *(f"row {row % 7}" for row in range(4999))],
        "lane": pa.array(["sci-fact", "general"] * 2500).dictionary_encode(),
    }
    table = pa.table(columns)
    read = pa.ipc.open_stream(pa.py_buffer(stream(table))).read_all()
    n_bytes = stream_size(stream(table, compression=compression)).n_bytes
    assert read.get_total_buffer_size() <= n_bytes <= read.get_total_buffer_size() + 64 * 12  # padding


def test_a_stream_that_unpacks_to_too_much_is_refused(served: Serving) -> None:
    """Kilobytes that unpack to more than 16 times ``--max-body`` are refused (413) before they are unpacked."""
    bomb = stream(contexts_of(np.zeros((4000, 3840), np.float32)), compression="zstd")
    assert len(bomb) < 20_000
    held = pa.default_memory_pool().max_memory()
    response = served.post("/predict/batch", data=bomb, headers=ARROW)
    assert (response.status_code, response.json()["detail"][0]["type"]) == (413, "too_large")
    assert pa.default_memory_pool().max_memory() == held


def test_compressed_streams_are_read(served: Serving) -> None:
    """A compressed stream within the limit is answered like any other."""
    rows = np.random.default_rng(0).standard_normal((3, 3840), dtype=np.float32)
    answers = [
        served.post("/predict/batch", data=stream(contexts_of(rows), compression=name), headers=ARROW).content
        for name in (None, "zstd")
    ]
    assert_same_rows(*(pa.ipc.open_stream(answer).read_all().to_pylist() for answer in answers))


def test_streams_of_an_arrow_before_1_are_refused(served: Serving) -> None:
    """Their compression does not declare its size."""
    old = stream(contexts_of(np.ones((3, 3840), np.float32)), metadata_version=pa.ipc.MetadataVersion.V4)
    response = served.post("/predict/batch", data=old, headers=ARROW)
    assert (response.status_code, response.json()["detail"][0]["type"]) == (422, "arrow_invalid")


def test_an_answer_has_a_limit(settings: Callable[..., Any]) -> None:
    """Rows of almost no bytes get a vector each; the answer may take 16 times ``--max-body``."""
    empty = pa.table({"context": pa.array([[]] * 400, pa.list_(pa.float32()))})
    with serving(settings(max_body="50kB")) as started:
        answers = [
            started.post("/predict/batch", data=stream(empty.slice(0, n_rows)), headers=ARROW)
            for n_rows in (200, 400)
        ]
    assert [answer.status_code for answer in answers] == [200, 413]
    assert "the answer" in answers[1].json()["detail"][0]["msg"]


def test_the_queue_has_a_limit(settings: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond ``--max-queue`` requests in progress, others get 429 with the time to try again."""
    from lvm_batch.jobs.serving.rows import Answerer

    free, judge = threading.Event(), Answerer.judge
    with serving(settings(max_queue=1)) as started, monkeypatch.context() as slow:
        slow.setattr(Answerer, "judge", lambda self, rows: (free.wait(HANG_S), judge(self, rows))[1])
        first: list[requests.Response] = []
        rows = {"rows": [QUERY, QUERY]}  # too many for the thread that reads requests
        asking = threading.Thread(target=lambda: first.append(started.post("/predict/batch", json=rows)))
        asking.start()
        wait_until(lambda: started.service.gate.under_way == 1, "the first is under way")
        response = started.post(json=QUERY)
        assert (response.status_code, response.headers["retry-after"]) == (429, "1")
        free.set()
        asking.join()
        assert first[0].status_code == 200
        assert started.post(json=QUERY).status_code == 200
        assert started.service.gate.under_way == 0


def test_a_slow_sender_blocks_no_other(settings: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """An unfinished body takes no place in the queue, and is refused (408) when it takes too long."""
    from lvm_batch.jobs.serving import endpoints

    monkeypatch.setattr(endpoints, "BODY_S", 2.0)
    with serving(settings(max_queue=1)) as started, started.connected() as slow:
        slow.sendall(HEAD + BODY[:-1])
        wait_until(lambda: len(started.server.server_state.tasks) == 1, "its head has come")
        assert started.post(json=QUERY).status_code == 200
        answer = b"".join(iter(lambda: slow.recv(65536), b""))  # until it closes the connection
        assert answer.startswith(b"HTTP/1.1 408")
        assert started.metric('lvm_batch_requests_total{path="/predict",status="408"}') == 1


def test_an_unfinished_request_is_forgotten(served: Serving) -> None:
    """A request that is not sent to its end is not counted, and leaves nothing behind."""
    n_requests = served.service.metrics.totals()["n_requests"]
    with served.connected() as gone:
        gone.sendall(HEAD + BODY[:-1])
        wait_until(lambda: len(served.server.server_state.tasks) == 1, "its head has come")
    wait_until(lambda: not served.server.server_state.tasks, "it is forgotten")
    assert served.service.metrics.totals()["n_requests"] == n_requests


def test_a_stop_is_graceful(settings: Callable[..., Any]) -> None:
    """/ready fails first, while requests are still accepted; then no more are, and those in progress are answered."""
    with (
        serving(settings(), drain_s=HANG_S) as started,
        requests.Session() as session,
        started.connected() as slow,
    ):
        slow.sendall(HEAD + BODY[:-1])
        wait_until(lambda: len(started.server.server_state.tasks) == 1, "its head has come")
        started.loop.call_soon_threadsafe(started.server.stop)
        wait_until(lambda: not started.service.readiness.is_ready, "readiness goes")
        assert session.get(f"{started.url}/ready", timeout=HANG_S).status_code == 503
        assert session.get(f"{started.url}/health", timeout=HANG_S).status_code == 200
        assert session.post(f"{started.url}/predict", json=QUERY, timeout=HANG_S).status_code == 200
        assert not started.server.should_exit
        started.loop.call_soon_threadsafe(started.server.stop)  # the second call ends the drain
        wait_until(lambda: refuses(started), "no more are taken")
        slow.sendall(BODY[-1:])
        assert slow.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_drain_ends_by_itself(settings: Callable[..., Any]) -> None:
    """After ``drain_s`` no more requests are accepted."""
    with serving(settings(), drain_s=0.1) as started:
        started.loop.call_soon_threadsafe(started.server.stop)
        wait_until(lambda: started.server.should_exit, "the drain is over")


def refuses(served: Serving) -> bool:
    """Whether connections are refused."""
    try:
        served.connected().close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_failure_of_the_models_reaches_only_its_requests(
    settings: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error in a batch is a 500 for its requests, and is counted; the next requests are answered."""
    from lvm_batch.jobs.serving.rows import Answerer

    with serving(settings()) as started:
        with monkeypatch.context() as broken:
            broken.setattr(Answerer, "judge", lambda *_: 1 / 0)
            assert started.post(json=QUERY).status_code == 500
        assert started.post(json=QUERY).status_code == 200
        assert started.service.gate.under_way == 0
        assert started.metric('lvm_batch_requests_total{path="/predict",status="500"}') == 1


def test_a_failure_to_join_requests_reaches_only_those(
    served: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If requests cannot even be joined, they get the error, and the next ones are answered."""
    from lvm_batch.jobs.serving import batcher
    from lvm_batch.jobs.serving.rows import Answers, Rows

    def failing(_: object) -> Rows:
        raise MemoryError

    row = Rows(np.ones((1, 5, 768), np.float32), [None], np.zeros(1), None, np.ones(1, bool))

    async def answers_after_failure() -> Answers:
        queue = batcher.Batcher(
            served.service._loaded.answerer, max_rows=8, inline_rows=1, took=lambda _: None
        )
        try:
            with monkeypatch.context() as broken:
                broken.setattr(batcher, "joined", failing)
                with pytest.raises(MemoryError):
                    await asyncio.wait_for(queue.answer(row), HANG_S)
            return await asyncio.wait_for(queue.answer(row), HANG_S)
        finally:
            queue.close()

    assert asyncio.run(answers_after_failure()).answered.all()


def answered(connection: socket.socket) -> bytes:
    """All bytes until the other side closes or resets the connection."""
    parts: list[bytes] = []
    with suppress(ConnectionError):
        parts += iter(lambda: connection.recv(65536), b"")
    return b"".join(parts)


HEADS = {
    "a long header": b"GET /health HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 2**16,
    "many headers": b"GET /health HTTP/1.1\r\nhost: x\r\n" + b"x: y\r\n" * 200,
    "a long path": b"GET /" + b"a" * 2**16,
    "a whole long head": b"GET /health HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 40_000 + b"\r\n\r\n",
    "a trailer": HEAD.replace(f"content-length: {len(BODY)}".encode(), b"transfer-encoding: chunked")
    + b"1\r\n{\r\n0\r\nx: "
    + b"a" * 2**19,
    "an extension of a chunk": HEAD.replace(
        f"content-length: {len(BODY)}".encode(), b"transfer-encoding: chunked"
    )
    + b"1;x="
    + b"a" * 2**19,
}


@pytest.mark.parametrize("case", HEADS)
def test_heads_and_trailers_have_a_limit(served: Serving, case: str) -> None:
    """Heads, trailers and chunk extensions of more than 32 KiB, and too many headers, are refused: 431."""
    with served.connected() as connection:
        with suppress(ConnectionError):
            connection.sendall(HEADS[case])
        assert answered(connection).startswith(b"HTTP/1.1 431 ")
    wait_until(lambda: not served.server.server_state.connections, "all are closed")


@pytest.mark.parametrize(("sent", "answer"), [(b"", b""), (HEAD[:-2], b"HTTP/1.1 408 ")])
def test_a_head_has_a_time_limit(
    served: Serving, monkeypatch: pytest.MonkeyPatch, sent: bytes, answer: bytes
) -> None:
    """A connection without a request is closed; an unfinished head gets 408."""
    from lvm_batch.jobs.serving import protocol

    monkeypatch.setattr(protocol, "HEAD_S", 0.1)
    monkeypatch.setattr(protocol, "_GRACE_S", 0.1)
    with served.connected() as connection:
        connection.sendall(sent)
        assert answered(connection)[: len(answer) or 1] == answer


def test_connections_have_a_limit(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """One connection too many gets 503; those before it are answered."""
    from lvm_batch.jobs.serving import protocol

    monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 1)
    with served.connected() as first, served.connected() as second:
        assert answered(second).startswith(b"HTTP/1.1 503 ")
        first.sendall(HEAD + BODY)
        assert first.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_requests_sent_ahead_have_a_limit(served: Serving) -> None:
    """Of very many requests sent at once the first are answered, in order; then the connection closes."""
    with served.connected() as connection:
        with suppress(ConnectionError):
            connection.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n" * 2000)
        answers = answered(connection)
        assert 2 <= answers.count(b"HTTP/1.1 200 ") <= 20
        assert answers.count(b"HTTP/1.1 ") == answers.count(b"HTTP/1.1 200 ")


def test_unfinished_bodies_have_a_limit(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """The unfinished bodies of all connections share a limit: beyond it 503, and 200 once they are gone."""
    monkeypatch.setattr(served.service.budget, "max_bytes", 1_000_000)
    head = HEAD.replace(b"/predict", b"/predict/batch").replace(b"%d" % len(BODY), b"900000")
    with served.connected() as first, served.connected() as second:
        first.sendall(head + b" " * 800_000)
        wait_until(lambda: served.service.budget.n_bytes >= 800_000, "the first has come")
        with suppress(ConnectionError):
            second.sendall(head + b" " * 800_000)
        assert second.recv(65536).startswith(b"HTTP/1.1 503 ")
    wait_until(lambda: served.service.budget.n_bytes == 0, "both are gone")
    assert served.post(json=QUERY).status_code == 200


def test_an_unread_answer_is_dropped(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long answer is sent as fast as its reader reads, counts until then, and is dropped after a while."""
    from lvm_batch.jobs.serving import protocol

    monkeypatch.setattr(protocol, "ANSWER_S", 0.3)
    body = stream(
        pa.table({"context": pa.array([[1.0] * 768] * 2000, pa.list_(pa.float32()))}), compression="zstd"
    )
    head = HEAD.replace(b"/predict", b"/predict/batch").replace(b"%d" % len(BODY), b"%d" % len(body))
    with served.connected() as connection:
        connection.sendall(head.replace(b"application/json", ARROW["content-type"].encode()) + body)
        wait_until(lambda: served.service.budget.n_bytes > 5_000_000, "the body has come")
        assert served.service.gate.under_way == 0
        wait_until(lambda: served.service.budget.n_bytes == 0, "it is given up")


def test_unpacking_waits_for_memory() -> None:
    """Those who do not fit wait for those before them, in order; a cancelled waiter takes no room."""
    from lvm_batch.jobs.serving.memory import MemoryQueue

    entered: list[str] = []

    async def enter(room: MemoryQueue, name: str, n_bytes: int, free: asyncio.Event) -> None:
        async with room.taken(n_bytes):
            entered.append(name)
            await free.wait()

    async def scene() -> None:
        room, free = MemoryQueue(10), asyncio.Event()
        tasks = [
            asyncio.create_task(enter(room, name, size, free))
            for name, size in (("a", 6), ("b", 6), ("c", 1), ("huge", 99))
        ]
        await asyncio.sleep(0.01)
        assert entered == ["a"]
        tasks[1].cancel()
        await asyncio.sleep(0.01)
        assert entered == ["a", "c"]
        free.set()
        await asyncio.gather(tasks[0], *tasks[2:])
        async with asyncio.timeout(1), room.taken(10):
            entered.append("all")

    asyncio.run(scene())
    assert entered == ["a", "c", "huge", "all"]


def test_a_dictionary_is_not_copied_for_each_row(served: Serving) -> None:
    """A large lane that every row shares takes its memory once, however small the compressed body is."""
    n_rows = 512
    lane = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n_rows, np.int32)), pa.array(["x" * 2**22]))
    rows = pa.array([[1.0] * 768] * n_rows, pa.list_(pa.float32()))
    body = stream(pa.table({"context": rows, "lane": lane}), compression="zstd")
    tracemalloc.start()
    try:
        assert served.post("/predict/batch", data=body, headers=ARROW).status_code == 200
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()


def test_repeated_values_of_a_stream_count_each_time(served: Serving) -> None:
    """Growing dictionaries, and texts that are views of one buffer, are refused by their unpacked size: 413."""
    kind = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema([("context", pa.list_(pa.float32())), ("note", kind)])
    words = [f"{place}{'y' * 30_000}" for place in range(100)]
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True, compression="zstd")
    context = pa.array([[1.0] * 768], schema.types[0])
    with pa.ipc.new_stream(sink, schema, options=options) as writer:
        for n_words in range(1, 101):
            note = pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), pa.array(words[:n_words]))
            writer.write_batch(pa.record_batch([context, note], schema=schema))
    growing = sink.getvalue().to_pybytes()
    views = np.tile(np.array([2_000_000, 0x78787878, 0, 0], np.int32), 64)
    buffers = [None, pa.py_buffer(views.tobytes()), pa.py_buffer(b"x" * 2_000_000)]
    lane = pa.Array.from_buffers(pa.string_view(), 64, buffers)
    seen = stream(pa.table({"context": pa.array([[1.0] * 768] * 64, schema.types[0]), "lane": lane}))
    for body in (growing, seen):
        response = served.post("/predict/batch", data=body, headers=ARROW)
        assert (response.status_code, response.json()["detail"][0]["type"]) == (413, "too_large")
