"""A process that does with each unit what a script says: it answers, dies, hangs, or fails its self-check."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lvm_batch.jobs.models.self_check import Refusal
from support.documents import record_of
from support.waiting import HANG_S

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


@dataclass(frozen=True)
class Unit:
    """The parts of a unit that the driver reads."""

    output: str


@dataclass(frozen=True)
class Script:
    """In place of a job: what becomes of each try of a unit, ``done`` if not said; ``folder`` keeps the tries."""

    folder: str
    tries: dict[str, tuple[str, ...]]
    bad_gpus: tuple[str, ...] = ()

    def behaviour(self, output: str) -> str:
        """Return what to do with a unit, and count the try."""
        log = Path(self.folder) / output
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        number = len(log.read_text().splitlines()) - 1
        script = self.tries.get(output, ())
        return script[number] if number < len(script) else "done"

    def pids(self, output: str) -> list[int]:
        """Return the processes that tried a unit, in order."""
        return list(map(int, (Path(self.folder) / output).read_text().split()))


def work(job: Script, slots: int, gpu: str | None, driver: Connection) -> None:
    """Answer the driver as the script says."""
    while True:
        unit = driver.recv()
        match job.behaviour(unit.output):
            case "die":
                os._exit(9)
            case "hang":
                time.sleep(HANG_S)
            case "answer and die":
                driver.send((unit.output, record_of(output=unit.output)))
                os._exit(9)
            case "refuse":
                driver.send((unit.output, Refusal("it is off", "cpu", worker="w", host="h")))
            case _ if gpu in job.bad_gpus:
                driver.send((unit.output, Refusal("it is off", f"GPU {gpu}", worker=f"w{gpu}", host="h")))
            case _:
                driver.send((unit.output, replace(record_of(output=unit.output), worker=str(os.getpid()))))
