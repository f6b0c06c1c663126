"""A process that opens hostile files, so that a crash is seen and the file is named.

Started as a script, it reads cases as lines of JSON, ``{"kind": …, "path": …}``, and answers each with a line that
says how it ended. A result and a user error are valid endings; every other ending is a finding.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

ADDRESS_SPACE = 24 * 2**30  # torch alone maps several GiB that it never uses


class Ending(NamedTuple):
    """How a case ended: ``result``, ``refused`` (with the error's message and hint), ``exception`` or ``killed``."""

    how: str
    said: Any
    cpu_s: float
    peak_bytes: int


class Victim:
    """The process, restarted whenever a file has killed it."""

    def __init__(self, *, limit_s: float) -> None:
        self._limit_s = limit_s
        self._process: subprocess.Popen[str] | None = None

    def open(self, kind: str, path: Path, **options: Any) -> Ending:  # noqa: ANN401 - each kind's own
        """Open one file in the process."""
        process = self._process or self._started()
        hangs = threading.Event()
        timer = threading.Timer(self._limit_s, lambda: (hangs.set(), process.kill()))
        timer.start()
        try:
            process.stdin.write(json.dumps({"kind": kind, "path": str(path), **options}) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        timer.cancel()
        if line:
            return Ending(**json.loads(line))
        code = process.wait()
        self.close()
        return Ending("killed", "no end" if hangs.is_set() else _signal_name(code), self._limit_s, 0)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            with suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.stdout.close()
            self._process = None

    def _started(self) -> subprocess.Popen[str]:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self._process.stdout.readline()  # wait until it is ready
        return self._process


def _signal_name(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit {code}"


def _checkpoint(path: str) -> Any:  # noqa: ANN401
    import torch

    from lvm_batch.io.storage.locations import read_file
    from lvm_batch.lvm import load_checkpoint

    loaded = load_checkpoint(read_file(path), path)
    with torch.inference_mode():
        answer = loaded.model(torch.ones(2, 5, loaded.dim))
    return {"architecture": loaded.architecture, "shape": list(answer.shape)}


def _dataset(path: str, pad: str | None = None, unit_bytes: int = 2**21) -> Any:  # noqa: ANN401
    """Read a dataset unit by unit and write predictions, with the means of contexts as answers."""
    from lvm_batch.io.dataset.files import find_files
    from lvm_batch.io.dataset.units import DatasetFormat, cut_units, read_footers
    from lvm_batch.io.errors import DataError

    understood = DatasetFormat()
    rows = {"promised": 0, "out": 0, "bad": 0}
    with tempfile.TemporaryDirectory() as out:
        for _, footer in read_footers(find_files([path]), understood):
            if isinstance(footer, DataError):
                raise footer
            for unit in cut_units(footer, unit_bytes=unit_bytes, shape=understood.shape):
                n_rows, n_bad = _written(unit, understood, pad, Path(out) / f"{rows['out']}.parquet")
                rows["promised"] += unit.n_rows
                rows["out"] += n_rows
                rows["bad"] += n_bad
                if n_rows != unit.n_rows:
                    raise DataError(
                        "a unit has not the rows that its footer promised", "as compute_unit does"
                    )
        _read_back(Path(out), rows["out"])
    return rows


def _written(unit: Any, understood: Any, pad: Any, out: Path) -> tuple[int, int]:  # noqa: ANN401
    from lvm_batch.io.dataset.reading import open_unit
    from lvm_batch.io.output.writer import PredictionWriter
    from lvm_batch.io.schema import BAD_INPUT
    from lvm_batch.lvm.inference.routing import REASONS

    n_bad = 0
    with (
        open_unit(unit, understood, batch_rows=64, pad=pad) as rows,
        PredictionWriter(out, rows.carried_schema, dim=768, dtype="float32", reasons=REASONS) as writer,
    ):
        for batch in rows.batches:
            writer.write(_block(batch))
            n_bad += int((batch.status == BAD_INPUT).sum())
        writer.close({})
    return writer.n_rows, n_bad


def _block(batch: Any) -> Any:  # noqa: ANN401
    from lvm_batch.io.output.writer import PredictionBlock
    from lvm_batch.io.schema import OK
    from lvm_batch.lvm.inference.routing import REASONS, escalation_reasons
    from lvm_batch.lvm.inference.thresholds import Thresholds

    usable = batch.status == OK
    unknown = np.full(batch.n_rows, np.nan, np.float32)
    with np.errstate(over="ignore"):
        answers = batch.contexts.mean(axis=1, dtype=np.float64).astype(np.float32)
    answers[~usable] = np.nan
    reasons = escalation_reasons(
        Thresholds(), batch.n_rows, lanes=batch.lanes, context_tokens=batch.context_tokens
    )
    assert reasons.shape == (batch.n_rows, len(REASONS))
    return PredictionBlock(
        carried=batch.carried,
        prediction=answers,
        cosine=unknown if batch.targets is None else batch.targets[:, 0],
        route=np.zeros(batch.n_rows, np.int8),
        reasons=reasons,
        confidence=unknown,
        margin=unknown,
        amn_cosine=unknown,
        gru_cosine=unknown,
        shadow=~usable,
        status=batch.status,
        details=batch.details,
    )


def _read_back(out: Path, n_rows: int) -> None:
    """Read the output back: one row for each input row, and finite predictions for ok rows."""
    import pyarrow.parquet as pq

    tables = [pq.ParquetFile(path).read() for path in out.rglob("*.parquet")]
    if sum(table.num_rows for table in tables) != n_rows:
        raise AssertionError("rows were lost on the way to the output")
    for table in tables:
        answers = table["prediction"].combine_chunks().flatten().to_numpy().reshape(table.num_rows, -1)
        usable = np.array(table["status"].to_pylist(), object) == "ok"
        if not np.isfinite(answers[usable]).all():
            raise AssertionError("a row that is ok has an answer that is not finite")


def _inspected(path: str) -> Any:  # noqa: ANN401
    from lvm_batch.jobs.inspection.inspection import inspect
    from lvm_batch.jobs.settings.run import RunSettings

    values, text = inspect(RunSettings(dataset=(path,)))
    json.dumps(values, allow_nan=False)
    return {"rows": values["rows"], "lines": text.count("\n")}


def _packed(path: str) -> Any:  # noqa: ANN401
    from lvm_batch.io.dataset.files import find_files
    from lvm_batch.io.packing.encoding import Packing
    from lvm_batch.io.packing.find import find_sources
    from lvm_batch.io.packing.packing import pack
    from lvm_batch.io.packing.sources import Reading

    with tempfile.TemporaryDirectory() as out:
        sources = find_sources(find_files([path]), Reading())
        files, *_ = pack(sources, f"{out}/packed", packing=Packing())
        return {"rows": sum(file.n_rows for file in files)}


def _bank(path: str) -> Any:  # noqa: ANN401
    import torch

    from lvm_batch.jobs.models.check import find_bank
    from lvm_batch.jobs.models.load import open_index

    bank = find_bank(path)
    index = open_index(bank, torch.device("cpu"))
    nearest = index.top2(np.eye(bank.dim, dtype=np.float32)[:3])
    return {"count": len(bank.vectors), "finite": bool(np.isfinite(nearest).all())}


def _config(path: str) -> Any:  # noqa: ANN401
    from lvm_batch.jobs.settings.run import RunSettings
    from lvm_batch.jobs.settings.sources import resolve_settings

    resolved = resolve_settings(RunSettings, {}, {}, Path(path), required=())
    return {"settings": len(resolved.settings.model_dump(mode="json"))}


KINDS: dict[str, Callable[..., Any]] = {
    "checkpoint": _checkpoint,
    "dataset": _dataset,
    "inspect": _inspected,
    "pack": _packed,
    "bank": _bank,
    "config": _config,
}


def _ended(kind: str, path: str, **options: Any) -> dict[str, Any]:  # noqa: ANN401
    from lvm_batch.io.errors import DataError
    from lvm_batch.jobs.errors import JobError
    from lvm_batch.lvm.errors import ModelError

    Path("/proc/self/clear_refs").write_text("5")  # start the peak measurement here
    before, began = _peak_bytes(), time.process_time()
    try:
        how, said = "result", KINDS[kind](path, **options)
    except (DataError, ModelError, JobError) as error:
        problems = getattr(error, "problems", ())
        how, said = (
            "refused",
            [*map(str, error.args[:2]), *(text for problem in problems for text in problem)],
        )
    except BaseException as error:  # noqa: BLE001 - a finding
        import traceback

        how, said = "exception", "".join(traceback.format_exception(error))
    cpu_s = time.process_time() - began
    return {"how": how, "said": said, "cpu_s": cpu_s, "peak_bytes": _peak_bytes() - before}


def _peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def _main() -> None:
    import torch

    import lvm_batch.jobs.prediction.planning.plan  # noqa: F401 - what is imported in a case would count against it

    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_ended(**json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _main()
