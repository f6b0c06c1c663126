"""The callers in ``workflows/``: each command predicts a night, and a second call finds it done."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.callers import (
    COMMANDS,
    ROWS_A_DAY,
    WORKFLOWS,
    Site,
    airflow_operator,
    cron_command,
    day_before,
    github_workflow,
    kubernetes_job,
    make_site,
    systemd_command,
    unit_file,
)
from support.check_server import check_server
from support.datasets import read_rows
from support.waiting import HANG_S

from lvm_batch.io.output.lock import lock_output
from lvm_batch.jobs.cli import main

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

needs_flock = pytest.mark.skipif(shutil.which("flock") is None, reason="flock is not installed")

EXIT_CODES = {0, 1, 2, 3, 70, 75, 130, 143}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, models: Path, bank: Path, scheduler: str) -> Site:
    """A machine that has everything but input."""
    return make_site(tmp_path_factory.mktemp("site"), models=models, bank=bank, scheduler=scheduler)


def start(site: Site, command: str, **environ: str) -> subprocess.Popen[str]:
    """Start a command as a scheduler would, in a shell and its own process group."""
    return subprocess.Popen(
        ["/bin/bash", "-c", site.placed(command)],
        env={**site.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("caller", COMMANDS)
def test_a_caller_predicts_a_new_day_and_then_finds_it_done(
    site: Site, monkeypatch: pytest.MonkeyPatch, caller: str
) -> None:
    """The command, as the shell runs it, computes only the new day; a second call computes nothing."""
    monkeypatch.setattr(
        "lvm_batch.jobs.reports.report_writer.write_report", lambda *_, **__: None
    )  # slower than the run
    process = start(site, COMMANDS[caller](), ENDS_WITH="0")
    printed, stderr = process.communicate(timeout=HANG_S)
    assert process.returncode == 0, printed + stderr
    day = day_before(1 + list(COMMANDS).index(caller))
    site.add_day(day)
    for name, value in site.environ.items():
        monkeypatch.setenv(name, value)
    assert main(site.called) == 0
    assert site.summary["units_computed"] == 1
    rows = read_rows(site.output / f"date={day}")
    assert [row["status"] for row in rows] == ["ok"] * ROWS_A_DAY
    assert (site.output / "_SUCCESS").exists()
    assert main(site.called) == 0
    assert site.summary["units_computed"] == 0


@needs_flock
def test_cron_does_not_start_a_night_while_one_runs(site: Site) -> None:
    """The command flock exits with 75 before lvm-batch even starts."""
    with (site.root / "srv/lvm/nightly.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        process = start(site, cron_command().replace("exec flock", "exec flock --verbose"))
        process.communicate(timeout=HANG_S)
    assert process.returncode == 75
    assert "failed to get lock" in (site.root / "srv/lvm/nightly.log").read_text()


def test_a_caller_does_not_start_while_another_run_works(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Callers without flock rely on lvm-batch's own lock, which also exits with 75."""
    site.add_day(day_before(1))
    start(site, systemd_command(), ENDS_WITH="0").communicate(timeout=HANG_S)
    for name, value in site.environ.items():
        monkeypatch.setenv(name, value)
    with lock_output(str(site.output)):
        assert main(site.called) == 75
    assert "another run is writing" in capsys.readouterr().err


@needs_flock
def test_sigterm_reaches_the_command_through_cron_and_the_next_night_resumes(
    site: Site, tmp_path: Path
) -> None:
    """The process that cron started is lvm-batch itself, and no lock is left behind."""
    site.add_day(day_before(1))
    environ = {"LVM_BATCH_OUTPUT": str(tmp_path / "out")}
    with check_server() as check:
        environ["LVM_BATCH_PING_URL"] = check.url
        process = start(site, cron_command(), **environ)
        check.on_ping = lambda event: os.kill(process.pid, signal.SIGTERM) if event == "start" else None
        process.communicate(timeout=HANG_S)
        assert process.returncode == 143
        assert not (tmp_path / "out/_SUCCESS").exists()
        check.on_ping = lambda _: None
        again = start(site, cron_command(), **environ)
        again.communicate(timeout=HANG_S)
    assert again.returncode == 0
    assert (tmp_path / "out/_SUCCESS").exists()
    assert (tmp_path / "out/_lvm_batch/report.html").exists()
    assert check.events == ["start", "fail", "start", ""]
    log = (site.root / "srv/lvm/nightly.log").read_text()
    assert "stopped by SIGTERM" in log
    assert check.url not in log


def test_systemd_accepts_the_units(site: Site, tmp_path: Path) -> None:
    """The checker of systemd finds no unknown key, no conflicting key, and a valid start time."""
    systemd_analyze = shutil.which("systemd-analyze")
    if systemd_analyze is None:
        pytest.skip("systemd-analyze is not installed")
    for name in ("lvm-batch-nightly.service", "lvm-batch-nightly.timer"):
        (tmp_path / name).write_text(site.placed((WORKFLOWS / "systemd" / name).read_text()))
    checked = subprocess.run(
        [systemd_analyze, "verify", "--man=no", *sorted(map(str, tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_systemd_tries_75_again_and_gives_a_stopped_run_its_time() -> None:
    """Exit code 143 is no failure, 75 restarts the unit, and every other code fails it."""
    unit = unit_file("lvm-batch-nightly.service")
    service = unit["Service"]
    assert service["RestartForceExitStatus"] == "75"
    assert service["SuccessExitStatus"] == "143"
    assert service["Restart"] == "no"
    assert (service["KillSignal"], service["KillMode"]) == ("SIGTERM", "mixed")
    assert int(service["TimeoutStopSec"]) > 2 * 10.5  # a start and an end that nobody answers
    assert unit_file("lvm-batch-nightly.timer")["Timer"]["Persistent"] == "true"


def test_kubernetes_fails_a_job_at_once_if_a_retry_cannot_help() -> None:
    """Exit codes that a retry cannot change fail the job at once; a drained pod does not count as a failure."""
    spec = kubernetes_job()["spec"]
    job, pod = spec["jobTemplate"]["spec"], spec["jobTemplate"]["spec"]["template"]["spec"]
    assert (spec["concurrencyPolicy"], pod["restartPolicy"]) == ("Forbid", "Never")
    ignored, failed, counted = job["podFailurePolicy"]["rules"]
    assert (ignored["action"], ignored["onPodConditions"]) == (
        "Ignore",
        [{"type": "DisruptionTarget", "status": "True"}],
    )
    assert (failed["action"], set(failed["onExitCodes"]["values"])) == (
        "FailJob",
        EXIT_CODES - {0, 75, 130, 143},
    )
    assert (counted["action"], set(counted["onExitCodes"]["values"])) == ("Count", {75, 137})
    (container,) = pod["containers"]
    assert {rule["onExitCodes"]["containerName"] for rule in (failed, counted)} == {container["name"]}
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert pod["terminationGracePeriodSeconds"] > 2 * 10.5
    named = {mount["name"] for mount in container["volumeMounts"]}
    assert named == {volume["name"] for volume in pod["volumes"]}


def test_airflow_tries_again_and_skips_nothing() -> None:
    """A skipped task would look like one with nothing to do."""
    operator = airflow_operator()
    assert operator["retries"] > 0
    assert operator["append_env"] is True
    assert "skip_on_exit_code" not in operator
    assert operator["bash_command"].startswith("exec ")


def test_github_keeps_the_report_that_the_job_writes(site: Site) -> None:
    """One night runs at a time, and its report is kept however the night ended."""
    workflow = github_workflow()
    assert workflow["concurrency"] == {"group": "lvm-batch-nightly", "cancel-in-progress": False}
    assert workflow[True]["schedule"] == [{"cron": "30 2 * * *"}]
    job = workflow["jobs"]["predict"]
    assert job["timeout-minutes"] < 360
    _, keep = job["steps"]
    assert keep["if"] == "always()"
    assert site.placed(keep["with"]["path"]) == str(site.output / "_lvm_batch/report.html")


def test_the_readme_links_to_every_caller() -> None:
    """The README's links exist, and every caller is linked."""
    text = (WORKFLOWS / "README.md").read_text()
    linked = {target for target in re.findall(r"\]\(([^)#]+)", text) if "://" not in target}
    assert [target for target in sorted(linked) if not (WORKFLOWS / target).exists()] == []
    files = {path.relative_to(WORKFLOWS).as_posix() for path in WORKFLOWS.rglob("*") if path.is_file()}
    assert {name for name in files if "pycache" not in name} - linked == {"README.md"}
