"""The callers in ``workflows/`` that compute a job in parts: each command computes its share, and one ends the job."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.callers import ROWS_A_DAY, WORKFLOWS, Site, day_before, make_site
from support.datasets import read_rows
from support.waiting import HANG_S

from lvm_batch.jobs.cli import main

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

pytestmark = pytest.mark.slow

SLURM = WORKFLOWS / "slurm_parts.sh"
KUBERNETES = WORKFLOWS / "kubernetes_parts.yaml"
COUNT = 16
EXIT_CODES = {0, 1, 2, 3, 70, 75, 130, 143}


@pytest.fixture
def site(tmp_path: Path, models: Path, bank: Path) -> Site:
    """A machine with three days of input, whose commands start workers of their own."""
    site = make_site(tmp_path, models=models, bank=bank, scheduler="")
    for n_days in range(1, 4):
        site.add_day(day_before(n_days))
    return site


def kubernetes_jobs() -> list[dict[str, Any]]:
    """The Job of the parts, and the Job that ends the job."""
    return list(yaml.safe_load_all(KUBERNETES.read_text()))


def container(job: Mapping[str, Any]) -> dict[str, Any]:
    """The only container of a Job."""
    (only,) = job["spec"]["template"]["spec"]["containers"]
    return only


def called(site: Site, command: list[str], **environ: str) -> list[str]:
    """Let a scheduler start a command; return the arguments that lvm-batch got."""
    placed = [site.placed(word) for word in command]
    ended = subprocess.run(
        placed,
        env={**site.environ, **environ, "ENDS_WITH": "0"},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return site.called


def slurm_called(site: Site, number: int, *arguments: str) -> list[str]:
    """Let Slurm start the task of the array with this number."""
    script = site.root / "slurm_parts.sh"
    script.write_text(site.placed(SLURM.read_text()))
    return called(
        site,
        ["/bin/bash", str(script), *arguments],
        SLURM_ARRAY_TASK_ID=str(number),
        SLURM_ARRAY_TASK_COUNT="2",
    )


def kubernetes_called(site: Site, number: int, *arguments: str) -> list[str]:
    """Let Kubernetes start the pod of this part, or the Job that ends the job."""
    parts, finish = kubernetes_jobs()
    command = container(finish if arguments else parts)["command"]
    return called(site, command, JOB_COMPLETION_INDEX=str(number - 1))


CALLERS = {"slurm": slurm_called, "kubernetes": kubernetes_called}


@pytest.mark.parametrize("caller", CALLERS)
def test_a_job_is_computed_in_parts_and_ended(
    site: Site, monkeypatch: pytest.MonkeyPatch, caller: str
) -> None:
    """Three days are units of parts 1, 2 and 3; the other parts have nothing to do, and the last step ends the job."""
    monkeypatch.setattr("lvm_batch.jobs.reports.report_writer.write_report", lambda *_, **__: None)
    for name, value in site.environ.items():
        monkeypatch.setenv(name, value)
    call = CALLERS[caller]
    output = site.root / "srv/lvm/backfill"
    for number in (3, 16, 1):
        assert main(call(site, number)) == 0
    assert main(call(site, 1, "--finish")) == 1
    assert main(call(site, 2)) == 0
    assert not (output / "_SUCCESS").exists()
    assert main(call(site, 1, "--finish")) == 0
    assert (output / "_SUCCESS").exists()
    assert [row["status"] for row in read_rows(output)] == ["ok"] * (3 * ROWS_A_DAY)


@pytest.mark.parametrize("caller", CALLERS)
def test_every_task_has_a_part_of_its_own(site: Site, caller: str) -> None:
    """From 1/16 to 16/16, also where only some of the tasks are started again."""
    parts = [CALLERS[caller](site, number)[-1].removeprefix("--part=") for number in range(1, COUNT + 1)]
    assert parts == [f"{number}/{COUNT}" for number in range(1, COUNT + 1)]


def test_slurm_starts_as_many_tasks_as_there_are_parts() -> None:
    """The script is one for bash, and its array has the parts' numbers."""
    text = SLURM.read_text()
    assert re.search(r"^#SBATCH --array=(.*)$", text, re.MULTILINE)[1] == f"1-{COUNT}"
    bash = shutil.which("bash")
    assert bash is not None
    assert subprocess.run([bash, "-n", str(SLURM)], check=False).returncode == 0
    assert SLURM.stat().st_mode & 0o111


def test_kubernetes_tries_again_what_may_help_and_nothing_else() -> None:
    """A part whose exit code a retry cannot change fails alone; a machine that is taken away counts for nothing."""
    parts, finish = kubernetes_jobs()
    spec = parts["spec"]
    assert (spec["completionMode"], spec["completions"]) == ("Indexed", COUNT)
    assert spec["backoffLimitPerIndex"] > 0
    for job, fails in ((parts, "FailIndex"), (finish, "FailJob")):
        ignored, failed, counted = job["spec"]["podFailurePolicy"]["rules"]
        assert ignored["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
        assert (ignored["action"], failed["action"], counted["action"]) == ("Ignore", fails, "Count")
        assert set(failed["onExitCodes"]["values"]) == EXIT_CODES - {0, 75, 130, 143}
        assert set(counted["onExitCodes"]["values"]) == {75, 137}
        pod = job["spec"]["template"]["spec"]
        assert pod["restartPolicy"] == "Never"
        named = {mount["name"] for mount in container(job)["volumeMounts"]}
        assert named == {volume["name"] for volume in pod["volumes"]}
    assert {job["metadata"]["labels"]["step"] for job in (parts, finish)} == {"parts", "finish"}
