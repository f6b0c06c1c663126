"""Plans, drives and reruns a job of very many units that compute nothing, and prints the cost of each step.

    make soak ARGS="--units 100000"

It measures the driver: listing, footers, identity, ``job.json``, tasks, records, summary. Dated figures are in
``soak.md`` beside this file.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, process_time
from typing import TYPE_CHECKING, TypeVar

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.many_units import peak_bytes, pretend, pretend_all, small_job, write_records

if TYPE_CHECKING:
    from collections.abc import Callable

    from lvm_batch.io.output.commit import OutputFolder
    from lvm_batch.jobs.prediction.planning.plan import Plan
    from lvm_batch.jobs.settings.run import RunSettings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Step:
    """The cost of one step: wall seconds, CPU seconds of this process, and its peak memory in bytes at the end."""

    name: str
    wall_s: float
    cpu_s: float
    peak_bytes: int


class Stopwatch:
    """Times one step after another."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def time(self, name: str, act: Callable[[], T]) -> T:
        """Return the result of ``act``, and record its cost."""
        wall, cpu = perf_counter(), process_time()
        result = act()
        self.steps.append(Step(name, perf_counter() - wall, process_time() - cpu, peak_bytes()))
        return result


def soak(settings: RunSettings, n_driven: int) -> list[Step]:
    """Plan a job, drive its first ``n_driven`` units, and run it twice as if all units were done."""
    from lvm_batch.io.output.commit import OutputFolder
    from lvm_batch.jobs.prediction.planning.plan import make_plan

    watch = Stopwatch()
    plan = watch.time("plan", lambda: make_plan(settings, threads=1))
    _drive(plan, n_driven, watch)
    folder = OutputFolder(settings.output)
    watch.time("job.json", partial(_begin, folder, plan, settings))
    write_records(Path(settings.output), (pretend(plan.job, unit) for unit in plan.units))
    del plan
    last = ("end with a report", "rerun of the finished job")
    return watch.steps + [_in_a_process_of_its_own(name, settings) for name in last]


def _in_a_process_of_its_own(name: str, settings: RunSettings) -> Step:
    """Run the job in a new process, which holds nothing of the steps before."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_run, name, settings).result()


def _run(name: str, settings: RunSettings) -> Step:
    from lvm_batch.jobs.console.console import Console
    from lvm_batch.jobs.prediction.run import run
    from lvm_batch.jobs.reports.report_writer import ReportWriter

    watch, console = Stopwatch(), Console(json=True)
    watch.time(name, lambda: run(settings, console=console, observers=[ReportWriter(tell=console.note)]))
    return watch.steps[0]


def _begin(folder: OutputFolder, plan: Plan, settings: RunSettings) -> None:
    from lvm_batch.jobs.prediction.planning.plan import job_document

    folder.begin(job_document(plan, settings))


def _drive(plan: Plan, n_driven: int, watch: Stopwatch) -> None:
    from distributed import Client, LocalCluster

    from lvm_batch.jobs.prediction.execution import drive as driving

    driving.run_units = pretend_all  # the task of every group
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        outcomes = driving.drive(client, plan.job, plan.units[:n_driven], unit_timeout_s=600)
        n_ended = watch.time(f"drive {n_driven:,}", lambda: sum(1 for _ in outcomes))
    if n_ended != n_driven:
        raise RuntimeError(f"{n_ended} of {n_driven} units ended")


def main() -> None:
    """Print the steps as a Markdown table."""
    import torch

    from lvm_batch.lvm import AttentionMixtureNetwork, save_checkpoint

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=100_000)
    parser.add_argument("--driven", type=int, help="how many of them are driven; all, unless given")
    options = parser.parse_args()
    n_driven = options.driven or options.units
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "amn.pt"
        save_checkpoint(
            model, AttentionMixtureNetwork(), architecture="amn", epoch=1, val_loss=0.5, val_cosine=0.5
        )
        steps = soak(small_job(Path(folder), model, options.units), n_driven)
    lines = ["| step | wall, s | cores, s | wall a unit, ms | peak, MiB |", "| --- | --- | --- | --- | --- |"]
    for step in steps:
        n_units = n_driven if step.name.startswith("drive") else options.units
        a_unit = f"{1000 * step.wall_s / n_units:.3f}"
        lines.append(
            f"| {step.name} | {step.wall_s:.1f} | {step.cpu_s:.1f} | {a_unit} | {step.peak_bytes >> 20:,} |"
        )
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
