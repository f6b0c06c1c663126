"""A SLURM of one machine: ``sbatch`` and ``scancel`` on the path, and jobs that are local processes.

The rule: it records what was submitted and cancelled, so that a test can check what is left. A file ``hold`` in its
folder keeps jobs in the queue; a file ``refuse`` holds the message with which ``sbatch`` rejects a job.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from pathlib import Path

_SBATCH = """#!{python} -S
import os, subprocess, sys, time
folder = {folder!r}
refusal = os.path.join(folder, "refuse")
if os.path.exists(refusal):
    sys.exit(open(refusal).read())
script = open(sys.argv[-1]).read()
number = 1
while True:
    try:
        kept = os.open(os.path.join(folder, f"{{number}}.sh"), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        break
    except FileExistsError:
        number += 1
os.write(kept, script.encode())
os.close(kept)
path = os.path.join(folder, str(number))
waits = f"while [ -e '{{folder}}/hold' ]; do sleep 0.1; done; exec bash '{{path}}.sh'"
with open(path + ".log", "w") as log:
    job = subprocess.Popen(["bash", "-c", waits], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                           start_new_session=True)
open(path + ".pid", "w").write(str(job.pid))
print("Submitted batch job", number)
"""

_SCANCEL = """#!{python} -S
import os, signal, sys
path = os.path.join({folder!r}, sys.argv[-1])
open(path + ".cancelled", "w").close()
try:
    os.killpg(int(open(path + ".pid").read()), signal.SIGTERM)
except ProcessLookupError:
    sys.exit("slurm_kill_job2 error: Invalid job id specified")
"""


class FakeSlurm:
    """The commands, in ``folder / "bin"``, and the state of their jobs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        for name, text in (("sbatch", _SBATCH), ("scancel", _SCANCEL)):
            command = self.bin / name
            command.write_text(text.format(python=sys.executable, folder=str(folder)))
            command.chmod(0o755)

    @property
    def path(self) -> str:
        """``PATH`` with these commands first."""
        return f"{self.bin}{os.pathsep}{os.environ['PATH']}"

    def scripts(self) -> list[str]:
        """The scripts that were submitted."""
        return [path.read_text() for path in sorted(self.folder.glob("*.sh"))]

    def cancelled(self) -> int:
        """How many jobs were cancelled."""
        return len(list(self.folder.glob("*.cancelled")))

    def running(self) -> list[psutil.Process]:
        """The job processes that are still running."""
        groups = {int(path.read_text()) for path in self.folder.glob("*.pid")}
        processes = []
        for process in psutil.process_iter():
            with suppress(ProcessLookupError, psutil.NoSuchProcess):
                if os.getpgid(process.pid) in groups and process.status() != psutil.STATUS_ZOMBIE:
                    processes.append(process)
        return processes

    def end(self) -> None:
        """Kill the remaining processes."""
        for process in self.running():
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
