"""Times whole runs against the plain script and against other frameworks, in turns; prints ratios.

    make bench ARGS="--rows 160000 --pairs 3"

Absolute times mean little on a shared machine; each ratio is of two commands that ran one after the other, and
the median of all pairs counts. A framework that is not installed is named and left out: ``pip install daft datasets``.
Dated figures are in ``speed.md`` beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from lvm_batch.jobs.benchmark.inputs import write_fresh_model, write_windows
from lvm_batch.lvm.devices.precision import multiplies_bf16

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Work = tuple[Callable[[], "TimedRun"], Callable[[], "TimedRun"], str]

SCRIPT = Path(__file__).with_name("plain_script.py")
PEERS = Path(__file__).with_name("peer_scripts.py")
COMMAND = "import sys; from lvm_batch.jobs.cli import command; sys.exit(command())"
_SHARD_ROWS = 20_000


def write_sequences(folder: Path, windows: Path) -> Path:
    """Write the vectors of ``windows`` as sequences, one article a shard, with lanes on the last row of each window."""
    folder.mkdir()
    for shard in sorted(windows.glob("*.parquet")):
        table = pq.read_table(shard)
        contexts = table["context"].combine_chunks().flatten().to_numpy().reshape(-1, 5, 768)
        targets = table["target"].combine_chunks().flatten().to_numpy().reshape(-1, 768)
        vectors = np.concatenate([contexts[0, :4], contexts[:, 4], targets[-1:]])
        lanes = ["general"] * 4 + table["lane"].to_pylist() + ["general"]
        columns = {
            "article_id": np.zeros(len(vectors), np.int64),
            "position": np.arange(len(vectors)),
            "lane": lanes,
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 768),
        }
        pq.write_table(pa.table(columns), folder / shard.name, compression="zstd", row_group_size=5000)
    return folder


class TimedRun:
    """One run of a command: its seconds, and the peak memory of its process tree (PSS)."""

    def __init__(self, command: Sequence[object], *, watched: bool = False) -> None:
        os.sync()  # what the run before has written is not written out during this one
        self.began = time.time()
        start = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.peak_bytes = 0
        watcher = threading.Thread(target=self._watch, args=[process])
        if watched:
            watcher.start()
        _, stderr = process.communicate()
        self.seconds = time.perf_counter() - start
        self.ended = time.time()
        if watched:
            watcher.join()
        if process.returncode:
            raise RuntimeError(stderr)

    def _watch(self, process: subprocess.Popen[str]) -> None:
        while process.poll() is None:
            self.peak_bytes = max(self.peak_bytes, _held(process.pid))
            time.sleep(0.3)


class Timeline:
    """Where the time of a whole run went, from the events in its output."""

    def __init__(self, run: TimedRun, out: Path) -> None:
        events = [json.loads(text) for text in (out / "_lvm_batch" / "events.jsonl").read_text().splitlines()]
        by_worker: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        for event in events:
            if event["event"] == "unit_done":
                at = datetime.fromisoformat(event["at"]).timestamp()
                by_worker[event["worker"]].append((at, sum(event["seconds"].values())))
        first, last = (pick(at for done in by_worker.values() for at, _ in done) for pick in (min, max))
        self.start_s = (
            first - max(took for done in by_worker.values() for at, took in done if at == first) - run.began
        )
        self.end_s = run.ended - last
        shares = [_share_between(done) for done in by_worker.values() if len(done) > 1]
        self.gaps = max(shares, default=0.0)


def _share_between(done: Sequence[tuple[float, float]]) -> float:
    """Return the share of a worker's time after its first unit that is in no part of a unit."""
    return 1 - sum(took for _, took in done[1:]) / (done[-1][0] - done[0][0])


def _held(pid: int) -> int:
    n_bytes = 0
    try:
        for each in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            n_bytes += each.memory_full_info().pss
    except psutil.Error:
        return 0
    return n_bytes


class Bench:
    """The commands to compare, with randomly initialised models."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._amn = write_fresh_model(root / "amn.pt", "amn")
        self._gru = write_fresh_model(root / "gru.pt", "gru")
        self._runs = 0

    def script(self, shards: Path) -> TimedRun:
        """Run the plain script."""
        return TimedRun([sys.executable, SCRIPT, shards, self._out(), self._amn, self._gru])

    def job(self, dataset: Path, *options: object, watched: bool = False) -> TimedRun:
        """Run the command."""
        models = ("--model", self._amn, "--fallback", self._gru, "--shadow-rate", 0)
        command = [sys.executable, "-c", COMMAND, "run", dataset, "--output", self._out(), *models, *options]
        return TimedRun(command, watched=watched)

    def peer(self, name: str, shards: Path) -> TimedRun:
        """Run another framework's script."""
        return TimedRun([sys.executable, PEERS, name, shards, self._out(), self._amn, self._gru])

    def timeline(self, run: TimedRun) -> Timeline:
        """Return where the time of the latest run went, which must be ``run``."""
        return Timeline(run, self.latest)

    @property
    def latest(self) -> Path:
        """The output of the latest run."""
        return self._root / f"out-{self._runs}"

    def _out(self) -> Path:
        shutil.rmtree(self.latest, ignore_errors=True)  # 160,000 predictions are 0.5 GB
        self._runs += 1
        return self.latest


def line(name: str, theirs: Sequence[TimedRun], ours: Sequence[TimedRun], goal: str) -> str:
    """One row of the table."""
    ratios = [slow.seconds / fast.seconds for slow, fast in zip(theirs, ours, strict=True)]
    seconds = [f"{median(run.seconds for run in runs):.1f}" for runs in (theirs, ours)]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    return f"| {name} | {seconds[0]} | {seconds[1]} | {median(ratios):.2f} ({spread}) | {goal} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=160_000)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # so that neither side compiles its imports again
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        escalated = write_windows(root / "escalated", options.rows, escalated=0.1)
        plain = write_windows(root / "plain", options.rows, escalated=0.0)
        sequences = write_sequences(root / "sequences", escalated)
        tenth = write_windows(root / "tenth", options.rows // 10, escalated=0.1)
        few = write_windows(root / "few", 10, escalated=0.1)
        bench = Bench(root)
        bench.job(few)
        works = {
            "windows, 10 % escalated": (lambda: bench.script(escalated), lambda: bench.job(escalated), "1.8"),
            "windows, none escalated": (lambda: bench.script(plain), lambda: bench.job(plain), "2.0"),
            "sequences against the script on windows": (
                lambda: bench.script(escalated),
                lambda: bench.job(sequences),
                "2.0",
            ),
            **_precisions(bench, escalated),
            **_peers(bench, escalated),
        }
        print("| work | plain, s | lvm-batch, s | ratio (of all pairs) | goal |")
        print("| --- | --- | --- | --- | --- |")
        for name, (slow, fast, goal) in works.items():
            pairs = [(slow(), fast()) for _ in range(options.pairs)]
            print(line(name, *zip(*pairs, strict=True), goal), flush=True)
        start = median(bench.job(few).seconds for _ in range(3))
        part = bench.job(tenth)
        whole = bench.job(escalated, watched=True)
        print(
            f"\nten rows: {start:.1f} s; 10 times the rows: {(whole.seconds - start) / (part.seconds - start):.1f} x"
        )
        found = bench.timeline(whole)
        print(f"start to first unit: {found.start_s:.1f} s; last unit to end: {found.end_s:.1f} s")
        print(f"gaps between a worker's units: {found.gaps:.1%} of its time")
        print(f"peak of all processes, {psutil.cpu_count()} workers: {whole.peak_bytes / 1e9:.2f} GB")


def _precisions(bench: Bench, windows: Path) -> dict[str, Work]:
    """Compare float32 with the precisions that gain something on this processor."""
    goals = {"int8": "1.5"} | ({"bf16": "1.4 with AMX"} if multiplies_bf16() else {})
    return {
        f"{name} against float32": (
            lambda: bench.job(windows),
            lambda name=name: bench.job(windows, "--precision", name),
            goal,
        )
        for name, goal in goals.items()
    }


def _peers(bench: Bench, windows: Path) -> dict[str, Work]:
    """Compare the frameworks that are installed with float32."""
    names = {"daft": "Daft", "datasets": "Hugging Face datasets"}
    missing = [each for each in names if find_spec(each) is None]
    if missing:
        print(f"not installed, so not compared: {', '.join(missing)}\n")
    return {
        f"{title}, 10 % escalated": (
            lambda name=name: bench.peer(name, windows),
            lambda: bench.job(windows),
            "1.5",
        )
        for name, title in names.items()
        if name not in missing
    }


if __name__ == "__main__":
    main()
