"""Times one query over HTTP against the bare model call, and measures requests a second, in one run.

    OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 .venv/bin/python tests/benchmarks/serving.py

``lvm-batch serve`` runs in its own process and gets prepared requests over plain loopback sockets, so that the
client takes next to no time. Both are timed in turns, block by block. Dated figures are in ``serving.md`` beside
this file.
"""

from __future__ import annotations

import argparse
import json
import re
import selectors
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import orjson
import torch

from lvm_batch.io.bank.bank import build_bank
from lvm_batch.io.dataset.files import find_files
from lvm_batch.jobs.serving.json_answers import AnswerWriter
from lvm_batch.jobs.serving.json_bodies import QueryReader
from lvm_batch.jobs.serving.loading import load
from lvm_batch.jobs.settings.serve import ServeSettings
from lvm_batch.lvm import build_model, save_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lvm_batch.jobs.serving.loading import LoadedModels

TURNS, BLOCK = 80, 40
BANK_ROWS = 2000
BOUTS = 5
_COMMAND = "import sys; from lvm_batch.jobs.cli import main; sys.exit(main())"


class Case(NamedTuple):
    """A service to measure: its name, and its models as settings."""

    name: str
    settings: ServeSettings


def cases(folder: Path) -> list[Case]:
    """AMN alone, AMN with a bank, and GRU for every row, all randomly initialised."""
    for name in ("amn", "gru"):
        save_checkpoint(
            folder / f"{name}.pt",
            build_model(name, seed=0),
            architecture=name,
            epoch=1,
            val_loss=0.5,
            val_cosine=0.5,
        )
    vectors(folder / "vectors.parquet")
    build_bank(find_files([str(folder / "vectors.parquet")]), str(folder / "bank"))
    base = {
        "models_dir": str(folder / "none" / "models"),
        "model": str(folder / "amn.pt"),
        "drain": 0,
        "port": 0,
    }
    bank = {"bank": str(folder / "bank"), "min_confidence": -1, "min_margin": 0}
    escalating = {"fallback": str(folder / "gru.pt"), "high_stakes_lane": ("general",)}
    return [
        Case("amn", ServeSettings(**base)),
        Case(f"amn, bank of {BANK_ROWS:,}", ServeSettings(**base, **bank)),
        Case("gru for every row", ServeSettings(**base, **escalating)),
    ]


def vectors(path: Path) -> None:
    """Write vectors for a bank."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    flat = np.random.default_rng(1).standard_normal(BANK_ROWS * 768, dtype=np.float32)
    pq.write_table(pa.table({"vector": pa.FixedSizeListArray.from_arrays(pa.array(flat), 768)}), path)


def body() -> bytes:
    """The body of one query, as a client with float32 unit vectors writes it."""
    context = np.random.default_rng(0).standard_normal((5, 768), dtype=np.float32)
    context /= np.linalg.norm(context, axis=1, keepdims=True)
    return orjson.dumps({"context": context, "lane": "general"}, option=orjson.OPT_SERIALIZE_NUMPY)


def flags(settings: ServeSettings) -> list[str]:
    """The settings as command-line options."""
    options = settings.model_dump(mode="json", exclude_unset=True)
    pairs = ((name, value) for name, values in options.items() for value in np.atleast_1d(values))
    return [text for name, value in pairs for text in (f"--{name.replace('_', '-')}", str(value))]


@contextmanager
def served(settings: ServeSettings) -> Iterator[tuple[str, int]]:
    """Serve in a separate process; yields host and port."""
    command = [sys.executable, "-c", _COMMAND, "serve", *flags(settings)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    try:
        address = next(filter(None, (re.search(r"http://([\d.]+):(\d+)", line) for line in process.stderr)))
        yield address[1], int(address[2])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


class Client:
    """A connection that sends the same request again and again."""

    def __init__(self, address: tuple[str, int], content: bytes) -> None:
        length = f"content-length: {len(content)}"
        head = ("POST /predict HTTP/1.1", "host: here", "content-type: application/json", length, "", "")
        self.request = "\r\n".join(head).encode() + content
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray(1 << 16)
        self.seen = 0

    def ask(self) -> None:
        """Send the request and wait for the response."""
        self.send()
        while not self.received():
            pass

    def send(self) -> None:
        """Send the request."""
        self.seen = 0
        self.socket.sendall(self.request)

    def received(self) -> bool:
        """Read the available bytes; return whether the response is complete."""
        self.seen += self.socket.recv_into(memoryview(self.buffer)[self.seen :])
        head = self.buffer.find(b"\r\n\r\n", 0, self.seen)
        if head < 0:
            return False
        assert self.buffer.startswith(b"HTTP/1.1 200"), bytes(self.buffer[: self.seen])
        length = int(re.search(rb"content-length: (\d+)", self.buffer[:head])[1])
        return self.seen >= head + 4 + length


def seconds(action: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def in_turns(actions: Sequence[Callable[[], object]], *, turns: int = TURNS) -> list[np.ndarray]:
    """Time blocks of calls in turns; return the microseconds of each call in the quietest quarter of turns.

    The machine is shared: other work slows all actions of a turn alike, so slow turns are left out.
    """
    for action in actions:
        action()
    took = np.array(
        [[[seconds(action) for _ in range(BLOCK)] for action in actions] for _ in range(turns)]
    )  # (turns, actions, calls)
    quietest = np.argsort(np.percentile(took, 90, axis=2).sum(axis=1))[: turns // 4]
    return [1e6 * took[quietest, place].ravel() for place in range(len(actions))]


def rate(address: tuple[str, int], content: bytes, *, n_clients: int, lasting_s: float) -> float:
    """Requests a second of clients that each send the next request when they get a response."""
    selector = selectors.DefaultSelector()
    clients = [Client(address, content) for _ in range(n_clients)]
    for client in clients:
        selector.register(client.socket, selectors.EVENT_READ, client)
        client.send()
    n_answers, start = 0, time.perf_counter()
    while time.perf_counter() - start < lasting_s:
        for key, _ in selector.select():
            if key.data.received():
                n_answers += 1
                key.data.send()
    took_s = time.perf_counter() - start
    for client in clients:
        client.socket.close()
    return n_answers / took_s


def latency_line(case: Case, address: tuple[str, int], content: bytes, *, turns: int) -> str:
    """The latency of one query: the bare model call, everything computed for it, and over HTTP."""
    loaded = load(case.settings)
    query = QueryReader(length=5, dim=768, pad=None).query(content)
    cascade = loaded.answerer._cascade
    model = cascade.fallback or cascade.primary
    client = Client(address, content)
    took = in_turns(
        [lambda: model(query.rows.contexts), lambda: loaded.answerer(query.rows), client.ask], turns=turns
    )
    bare, computed, http = ([np.percentile(each, share) for share in (50, 95)] for each in took)
    ratios = [f"{http[i] / base[i]:.2f}" for base in (bare, computed) for i in (0, 1)]
    figures = [f"{value:.0f}" for each in (bare, computed, http) for value in each]
    return f"| {case.name} | " + " | ".join([*figures, *ratios]) + " |"


def parts_line(content: bytes, loaded: LoadedModels) -> str:
    """The cost of each part of a query in microseconds, with alternative ways to read it."""
    reader, writer = QueryReader(length=5, dim=768, pad=None), AnswerWriter(("amn", None))
    packed = struct.Struct("<768f").pack
    query = reader.query(content)
    answers = loaded.answerer(query.rows)
    took = in_turns(
        [
            lambda: reader.query(content),
            lambda: [packed(*vector) for vector in orjson.loads(content)["context"]],
            lambda: np.array(json.loads(content)["context"], np.float32),
            lambda: loaded.answerer(query.rows),
            lambda: writer.answer(answers, None),
        ]
    )
    return "| " + " | ".join(f"{median(each):.0f}" for each in took) + " |"


def main() -> None:
    """Print the tables."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--clients", type=int, nargs="*", default=[1, 4, 16, 64])
    arguments.add_argument(
        "--lasting", type=float, default=1, help="Seconds of a bout, of which the best counts."
    )
    options = arguments.parse_args()
    torch.set_num_threads(1)
    content = body()
    print(f"body of {len(content):,} bytes; microseconds, p50 and p95")
    print("| | bare | | computed | | HTTP | | HTTP : bare | | HTTP : computed | |")
    rates = []
    with tempfile.TemporaryDirectory() as folder:
        measured_cases = cases(Path(folder))
        for case in measured_cases:
            with served(case.settings) as address:
                print(
                    latency_line(case, address, content, turns=TURNS // 4 if "gru" in case.name else TURNS),
                    flush=True,
                )
                measured = [
                    max(rate(address, content, n_clients=n, lasting_s=options.lasting) for _ in range(BOUTS))
                    for n in options.clients
                ]
                rates.append(f"| {case.name} | " + " | ".join(f"{each:,.0f}" for each in measured) + " |")
        print("\n| read JSON | by orjson | by json | compute amn | write JSON |")
        print(parts_line(content, load(measured_cases[0].settings)))
    print(f"\n| requests/s | {' | '.join(f'{n} clients' for n in options.clients)} |")
    print("\n".join(rates))


if __name__ == "__main__":
    main()
