"""Programs that call ``lvm_batch``, as processes of their own with workers of this machine."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import psutil
import pytest
from support.datasets import windows, write_windows
from support.waiting import HANG_S, wait_until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

N_ROWS = 300


@pytest.fixture(scope="module")
def site(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset of six units, and a file of settings."""
    folder = tmp_path_factory.mktemp("python")
    contexts, targets = windows()
    write_windows(folder / "in/a.parquet", contexts[:N_ROWS], targets[:N_ROWS], row_group_rows=50)
    (folder / "job.toml").write_text(
        f'dataset = ["{folder}/in"]\nmodel = "{models}/amn.pt"\nfallback = "{models}/gru.pt"\n'
        'min_confidence = 1\nworkers = 1\nunit_size = "760KiB"\n'
    )
    return folder


def start(site: Path, program: str) -> subprocess.Popen[str]:
    """Start a program in the folder, as a terminal would."""
    (site / "program.py").write_text(textwrap.dedent(program))
    return subprocess.Popen(
        [sys.executable, "program.py"],
        cwd=site,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def printed_by(site: Path, program: str) -> list[str]:
    """The lines that a program prints; the test fails if it ends with an error."""
    process = start(site, program)
    out, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 0, err
    return out.splitlines()


def test_a_program_plans_runs_and_reads_in_one_process(site: Path) -> None:
    """Without ``if __name__ == "__main__"``: workers do not run it again. It may run jobs one after the other, also in
    a thread, and its own threads of numpy stay as they were.
    """
    program = """
        import os
        import threading
        import lvm_batch

        print("once", __name__)
        given = {"config": "job.toml", "progress": False}
        print(lvm_batch.plan(output="out", **given).units_left)
        result = lvm_batch.run(output="out", **given)
        print(lvm_batch.read_predictions(result.output).collect().height)
        print(lvm_batch.plan(output="out", **given).units_left)

        def work():
            print(lvm_batch.run("in", output="in_a_thread", **given)["rows_out"])

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        print(os.environ.get("OMP_NUM_THREADS"), os.environ.get("PYTHONSAFEPATH"))
    """
    assert printed_by(site, program) == ["once __main__", "6", f"{N_ROWS}", "0", f"{N_ROWS}", "None None"]


def test_processes_of_the_programs_own_are_as_they_were(site: Path) -> None:
    """Its functions can still be called in processes that it starts after a run.

    A daemon of multiprocessing cannot start workers; it is told that a thread or a scheduler can be used.
    """
    program = """
        import multiprocessing
        import lvm_batch

        def double(number):
            return 2 * number

        def work():
            try:
                lvm_batch.run(output="never", config="job.toml", progress=False)
            except lvm_batch.JobError as error:
                print(error.kind, "--scheduler" in error.hint, flush=True)

        if __name__ == "__main__":
            lvm_batch.run(output="before", config="job.toml", progress=False)
            for method in ("forkserver", "spawn"):
                with multiprocessing.get_context(method).Pool(1) as pool:
                    print(pool.map(double, [1, 2]), flush=True)
            daemon = multiprocessing.get_context("fork").Process(target=work, daemon=True)
            daemon.start()
            daemon.join()
    """
    assert printed_by(site, program) == ["[2, 4]", "[2, 4]", "os True"]


# distributed.utils.sync cancels a future that it has not made yet, if Ctrl-C comes within microseconds of a call.
DASKS_RACE = re.compile(
    r"[^\n]*Exception in callback.*?'future' where it is not [^\n]* in enclosing scope\n", re.DOTALL
)


def test_ctrl_c_is_a_keyboard_interrupt(site: Path) -> None:
    """The run ends in good order and leaves no process; the program can go on, and the same call resumes."""
    program = """
        import lvm_batch

        def run():
            return lvm_batch.run(output="stopped", config="job.toml", min_margin=2, progress=False)

        try:
            run()
        except KeyboardInterrupt as stopped:
            print("stopped", flush=True)
        print(run().summary.units_computed < 6)
    """
    process = start(site, program)
    done = site / "stopped/_lvm_batch/done"
    wait_until(lambda: len(list(done.glob("*.json"))) >= 2, "two committed units")
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=HANG_S)
    assert (process.returncode, out) == (0, "stopped\nTrue\n"), err
    assert "Traceback" not in DASKS_RACE.sub("", err)
    wait_until(
        lambda: not [each for each in psutil.process_iter(["cwd"]) if each.info["cwd"] == str(site)],
        "no process left",
    )
