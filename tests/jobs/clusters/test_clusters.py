"""Clusters that a run starts for itself, workers that join and leave, and workers with other versions."""

from __future__ import annotations

import getpass
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from importlib import metadata
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from distributed import Client
from support.datasets import read_rows, windows, write_windows
from support.fake_slurm import FakeSlurm
from support.quick_cluster import quick_cluster
from support.waiting import HANG_S, wait_until

from lvm_batch.jobs.clusters.backend import WorkerExpectations
from lvm_batch.jobs.clusters.check import check_cluster
from lvm_batch.jobs.clusters.kinds import backend_of
from lvm_batch.jobs.clusters.kubernetes import Kubernetes
from lvm_batch.jobs.clusters.versions import VersionDifference, check_versions, version_differences
from lvm_batch.jobs.clusters.waiting import await_workers
from lvm_batch.jobs.errors import MissingExtra, SettingsError, TryAgain
from lvm_batch.jobs.models.self_check import Refusal
from lvm_batch.jobs.prediction.execution import worker
from lvm_batch.jobs.prediction.execution.worker import run_units
from lvm_batch.jobs.prediction.execution.workers import Workers
from lvm_batch.jobs.prediction.planning.plan import make_plan
from lvm_batch.jobs.settings.run import RunSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from distributed import LocalCluster
    from support.command import Result

pytestmark = pytest.mark.slow

N_UNITS = 6
OURS = metadata.version("lvm-batch")

SLURM = """
[slurm]
cores = 1
memory = "2GB"
nanny = false
queue = "batch"
scheduler_options = { host = "127.0.0.1" }
"""


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Windows in six units."""
    contexts, targets = (part[: N_UNITS * 20] for part in windows())
    write_windows(tmp_path / "in/a.parquet", contexts, targets, row_group_rows=20)
    return tmp_path / "in"


@pytest.fixture
def arguments(dataset: Path, tmp_path: Path, models: Path) -> list[object]:
    """The arguments of a run over the dataset."""
    return [
        *("run", dataset, "--output", tmp_path / "out", "--unit-size", "310KiB", "--shadow-rate", 1),
        *("--model", models / "amn.pt", "--fallback", models / "gru.pt"),
    ]


@pytest.fixture(autouse=True)
def _no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lvm_batch.jobs.reports.report_writer.write_report", lambda *_, **__: None)


def problems(result: Result) -> str:
    """All messages and hints of an error."""
    error = result.values["error"]
    return " | ".join(f"{each['message']}: {each['hint']}" for each in error.get("problems", [error]))


# What a plan asks of a cluster


def job_file(tmp_path: Path, text: str) -> Path:
    """Write a TOML file."""
    path = tmp_path / "job.toml"
    path.write_text(text)
    return path


def test_a_plan_shows_the_job_script(
    lvm_batch: Callable[..., Result], arguments: list[object], tmp_path: Path
) -> None:
    """The plan has the script for sbatch and submits nothing: this machine has no sbatch."""
    pytest.importorskip("dask_jobqueue")
    config = job_file(tmp_path, SLURM)
    plan = lvm_batch("plan", *arguments[1:], "--cluster", "slurm", "--workers", 3, "--config", config)
    assert plan.code == 0, plan.stderr
    assert plan.values["workers"] == "slurm, 3 of them"
    assert "#SBATCH -p batch" in plan.values["asked_of_cluster"]
    assert "--no-nanny" in plan.values["asked_of_cluster"]


def test_a_plan_shows_the_resource(
    lvm_batch: Callable[..., Result], arguments: list[object], tmp_path: Path
) -> None:
    """The resource has the table's image, limits and variables, without values of secret-sounding variables."""
    pytest.importorskip("dask_kubernetes")
    table = 'image = "lvm:1"\nresources = {limits = {memory = "4Gi"}}\nenv = {API_TOKEN = "hidden", SHOWN = "yes"}'
    config = job_file(tmp_path, f"[kubernetes]\n{table}")
    plan = lvm_batch("plan", *arguments[1:], "--cluster", "kubernetes", "--adapt", "0:9", "--config", config)
    assert plan.code == 0, plan.stderr
    request = plan.values["asked_of_cluster"]
    assert all(part in request for part in ("kind: DaskCluster", "lvm:1", "4Gi", "yes", "idleTimeout: 900"))
    assert "hidden" not in request


def test_a_plan_shows_the_hosts(
    lvm_batch: Callable[..., Result], arguments: list[object], tmp_path: Path
) -> None:
    """The first host is the scheduler's."""
    pytest.importorskip("asyncssh")
    config = job_file(tmp_path, '[ssh]\nhosts = ["login", "node1", "node2"]')
    plan = lvm_batch("plan", *arguments[1:], "--cluster", "ssh", "--config", config)
    assert plan.values["asked_of_cluster"] == "scheduler on login\nworkers on node1, node2"


@pytest.mark.parametrize(
    ("given", "table", "message"),
    [
        ({"cluster": "slurm"}, {"cores": 1, "memory": "1GB"}, "no number of workers"),
        ({"cluster": "slurm", "workers": 1}, {}, r"\[slurm\] has no cores"),
        ({"cluster": "slurm", "workers": 1}, {"cores": 1}, r"\[slurm\] has no memory"),
        ({"cluster": "slurm", "workers": 1}, {"cores": 1, "memory": "lots"}, "cannot be used"),
        ({"cluster": "slurm", "workers": 1}, {"cores": True}, "cores in .* cannot be True"),
        ({"cluster": "slurm", "workers": 1}, {"worker_extra_args": [1]}, "cannot be .1."),
        ({"cluster": "slurm", "workers": 1}, {"n_workers": 2}, "n_workers in .* cannot be set in a table"),
        (
            {"cluster": "slurm", "workers": 1},
            {"walltim": "1:00"},
            "walltim in .* not an argument of SLURMCluster",
        ),
        ({"cluster": "kubernetes", "workers": 1}, {}, "has no image"),
        ({"cluster": "kubernetes", "workers": 1}, {"image": "x", "name": "A_B"}, "A_B is invalid"),
        ({"cluster": "kubernetes", "workers": 1}, {"resources": {"limits": 3}}, "resources in .* cannot be"),
        ({"cluster": "ssh"}, {"hosts": ["one"]}, "names 1 host, "),
        ({"cluster": "ssh"}, {"hosts": ["a", "b"], "connect_options": [{}]}, "2 hosts and 1 connect_options"),
        (
            {"cluster": "ssh", "workers": 3},
            {"hosts": ["a", "b"]},
            "--workers cannot be used with --cluster ssh",
        ),
        ({"adapt": "1:2"}, {}, "needs a cluster that can grow"),
        ({"wait_for_workers": 5}, {}, "--wait-for-workers needs"),
        ({"scheduler": "tcp://a:1", "workers": 4}, {}, "--workers 4 and --scheduler tcp://a:1 are both"),
        ({"scheduler": "http://a:8787"}, {}, "--scheduler cannot be 'http://a:8787'"),
        ({"scheduler": "tcp://a"}, {}, "--scheduler cannot be 'tcp://a'"),
        ({"scheduler": "a:8786"}, {}, "--scheduler cannot be 'a:8786'"),
    ],
)
def test_wrong_settings_are_reported_offline(
    given: dict[str, Any], table: dict[str, Any], message: str
) -> None:
    """Wrong keys and values, and missing ones, are reported before anything is contacted."""
    for package in ("dask_jobqueue", "dask_kubernetes", "asyncssh"):
        pytest.importorskip(package)
    kind = given.get("cluster", "ssh")
    with pytest.raises(SettingsError, match=message):
        check_cluster(RunSettings.model_validate(given | {kind: table}))


@pytest.mark.parametrize(
    ("content", "message"),
    [("a: [1, 2\nb: }", "is not YAML: while parsing"), ("- a\n- b", "holds no resource")],
)
def test_an_invalid_resource_file_is_reported(tmp_path: Path, content: str, message: str) -> None:
    """The YAML file is broken, or holds something else."""
    pytest.importorskip("dask_kubernetes")
    (tmp_path / "cluster.yaml").write_text(content)
    table = {"custom_cluster_spec": str(tmp_path / "cluster.yaml")}
    with pytest.raises(SettingsError, match=message):
        check_cluster(RunSettings(cluster="kubernetes", workers=1, kubernetes=table))


def test_secrets_of_a_table_are_hidden() -> None:
    """Secrets are hidden in errors about a value, and in variables that a job script sets."""
    for package in ("dask_jobqueue", "dask_kubernetes", "asyncssh"):
        pytest.importorskip(package)
    prologue = ["export AWS_SECRET_ACCESS_KEY=hunter2", "export A_TOKEN='hunter 2'; module load x=y"]
    slurm = {"cores": 1, "memory": "1GB", "job_script_prologue": prologue}
    env = {"AWS_SECRET_ACCESS_KEY": "hunter2", "RETRIES": 3, "LONG": "x" * 500}
    connect = [{"password": "hunter2"}, 3]
    given = (
        RunSettings(cluster="kubernetes", workers=1, kubernetes={"image": "x", "env": env}),
        RunSettings(cluster="ssh", ssh={"hosts": ["a", "b"], "connect_options": connect}),
    )
    for settings in given:
        with pytest.raises(SettingsError) as caught:
            check_cluster(settings)
        assert "hunter" not in str(caught.value.problems)
        assert len(caught.value.problems[0].message) < 300
    settings = RunSettings(cluster="slurm", workers=1, slurm=slurm)
    assert settings.as_dict()["slurm"]["job_script_prologue"] == [
        "export AWS_SECRET_ACCESS_KEY=***",
        "export A_TOKEN=***; module load x=y",
    ]
    request = str(backend_of(settings).preview().request)
    assert "hunter" not in request
    assert "module load x=y" in request


def test_a_mistyped_key_is_reported_with_the_nearest() -> None:
    """The hint has the key that the cluster's class knows."""
    pytest.importorskip("dask_jobqueue")
    settings = RunSettings(cluster="slurm", workers=1, slurm={"coers": 1, "extra": []})
    with pytest.raises(SettingsError) as caught:
        check_cluster(settings)
    assert [problem.hint for problem in caught.value.problems] == [
        "did you mean cores?",
        "it is called worker_extra_args",
    ]


@pytest.mark.parametrize(
    ("kind", "package"),
    [("slurm", "dask_jobqueue"), ("kubernetes", "dask_kubernetes"), ("ssh", "asyncssh")],
)
def test_a_missing_extra_is_named(kind: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint is the command that installs the extra."""
    monkeypatch.setattr("lvm_batch.jobs.extras.find_spec", lambda name: None if name == package else 1)
    with pytest.raises(MissingExtra) as caught:
        check_cluster(RunSettings(cluster=kind, workers=None if kind == "ssh" else 1))
    assert caught.value.args[1] == f'pip install "lvm-batch[{kind}]"'


def test_two_clusters_are_refused(lvm_batch: Callable[..., Result], arguments: list[object]) -> None:
    """--cluster contradicts --scheduler, and --workers contradicts --adapt."""
    both = lvm_batch(
        *arguments, "--cluster", "slurm", "--scheduler", "tcp://a:1", "--workers", 1, "--adapt", "1:2"
    )
    assert both.code == 2
    assert "--cluster slurm and --scheduler tcp://a:1 are both given" in problems(both)
    assert "--adapt 1:2 and --workers 1 are both given" in problems(both)
    assert lvm_batch(*arguments, "--adapt", "5:2").code == 2


def test_tables_are_settings(lvm_batch: Callable[..., Result], tmp_path: Path) -> None:
    """`config show` writes a table that --config accepts, without secrets; the schema contains it."""
    table = '[ssh]\nhosts = ["a", "b"]\nconnect_options = {password = "hidden", port = 22, compress = true}\n'
    shown = lvm_batch("config", "show", "--config", job_file(tmp_path, table))
    options = {"password": "***", "port": 22, "compress": True}
    assert shown.values["settings"]["ssh"] == {"hosts": ["a", "b"], "connect_options": options}
    assert lvm_batch("config", "schema").values["properties"]["ssh"]["type"] == "object"
    values = RunSettings(kubernetes={"env": [{"name": "DB_PASSWORD", "value": "hidden"}]}).as_dict()
    assert values["kubernetes"]["env"] == [{"name": "DB_PASSWORD", "value": "***"}]
    assert lvm_batch("config", "show", "--config", job_file(tmp_path, "slurm = 3")).code == 2


def test_shown_tables_are_toml(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The printed text parses to the same table."""
    import tomllib

    from lvm_batch.jobs.cli import main

    table = '[ssh]\nhosts = ["a", "b"]\nworker_options = {nthreads = 2, preload = ["x y"]}\n'
    assert main(["config", "show", "--config", str(job_file(tmp_path, table))]) == 0
    assert tomllib.loads(capsys.readouterr().out)["ssh"] == tomllib.loads(table)["ssh"]


# Runs on SLURM


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSlurm]:
    """``sbatch`` and ``scancel``, on the path."""
    pytest.importorskip("dask_jobqueue")
    fake = FakeSlurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", fake.path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield fake
    fake.end()


def nothing_is_left(slurm: FakeSlurm) -> bool:
    """Whether all job processes have ended."""
    wait_until(lambda: not slurm.running(), "the processes of jobs to go away")
    return True


def test_a_run_on_slurm(
    lvm_batch: Callable[..., Result], arguments: list[object], slurm: FakeSlurm, tmp_path: Path
) -> None:
    """Jobs are submitted, their workers compute the units, and every job is cancelled at the end."""
    config = job_file(tmp_path, SLURM)
    result = lvm_batch(*arguments, "--cluster", "slurm", "--adapt", "1:2", "--config", config)
    assert (result.code, result.values["units_done"]) == (0, N_UNITS), result.stderr
    assert len(read_rows(tmp_path / "out")) == N_UNITS * 20
    assert 1 <= len(slurm.scripts()) == slurm.cancelled()
    assert nothing_is_left(slurm)


def test_a_queue_that_does_not_advance(
    lvm_batch: Callable[..., Result],
    arguments: list[object],
    slurm: FakeSlurm,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A note says that the run waits; after --wait-for-workers it exits with 75 and cancels its jobs."""
    monkeypatch.setattr("lvm_batch.jobs.clusters.waiting._NOTE_EVERY_S", 0.5)
    (slurm.folder / "hold").touch()
    config = job_file(tmp_path, SLURM + "[ssh]\n")
    result = lvm_batch(
        *arguments, "--cluster", "slurm", "--workers", 2, "--config", config, "--wait-for-workers", 1.5
    )
    assert (result.code, result.values["error"]["kind"]) == (75, "try_again")
    assert "--cluster slurm has no workers after 1.5 s" in result.values["error"]["message"]
    assert "waiting for a worker of --cluster slurm" in result.stderr
    assert len(slurm.scripts()) == slurm.cancelled() == 2
    assert nothing_is_left(slurm)


def test_a_job_that_sbatch_refuses(
    lvm_batch: Callable[..., Result], arguments: list[object], slurm: FakeSlurm, tmp_path: Path
) -> None:
    """The run fails at once with sbatch's own message."""
    (slurm.folder / "refuse").write_text("sbatch: error: invalid partition specified: batch")
    result = lvm_batch(
        *arguments, "--cluster", "slurm", "--workers", 1, "--config", job_file(tmp_path, SLURM)
    )
    assert result.code == 75
    assert "invalid partition specified: batch" in result.values["error"]["message"]
    assert "Traceback" not in result.stderr


def test_without_a_kubernetes(
    lvm_batch: Callable[..., Result], arguments: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run exits with 75, and leaves nothing to clean up at the process's end."""
    pytest.importorskip("dask_kubernetes")
    from dask_kubernetes.operator import KubeCluster

    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    config = job_file(tmp_path, '[kubernetes]\nimage = "lvm:1"')
    result = lvm_batch(*arguments, "--cluster", "kubernetes", "--workers", 1, "--config", config)
    assert (result.code, result.values["error"]["kind"]) == (75, "try_again")
    assert "--cluster kubernetes did not start" in result.values["error"]["message"]
    assert not list(KubeCluster._instances)


def test_without_sbatch(lvm_batch: Callable[..., Result], arguments: list[object], tmp_path: Path) -> None:
    """The error says that this machine cannot submit jobs."""
    pytest.importorskip("dask_jobqueue")
    if shutil.which("sbatch"):
        pytest.skip("there is a sbatch")
    result = lvm_batch(
        *arguments, "--cluster", "slurm", "--workers", 1, "--config", job_file(tmp_path, SLURM)
    )
    assert (result.code, "sbatch" in result.values["error"]["message"]) == (2, True)


def test_sigterm_leaves_no_job_behind(arguments: list[object], slurm: FakeSlurm, tmp_path: Path) -> None:
    """A run that is stopped while it waits cancels its jobs."""
    (slurm.folder / "hold").touch()
    code = "import sys; from lvm_batch.jobs.cli import main; sys.exit(main())"
    config = job_file(tmp_path, SLURM)
    run = [
        sys.executable,
        "-c",
        code,
        *map(str, arguments),
        "--cluster",
        "slurm",
        "--workers",
        "1",
        "--config",
    ]
    process = subprocess.Popen([*run, str(config)], stderr=subprocess.DEVNULL)
    wait_until(slurm.running, "a job is submitted")
    process.send_signal(signal.SIGTERM)
    assert process.wait(HANG_S) == 143
    assert slurm.cancelled() == 1
    assert nothing_is_left(slurm)


# Runs over ssh


def listens(port: int) -> bool:
    """Whether something listens on the port."""
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[str]:
    """An sshd on loopback that accepts one key; the values for [ssh]."""
    pytest.importorskip("asyncssh")
    sshd = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    keygen = shutil.which("ssh-keygen")
    if not (sshd and keygen):
        pytest.skip("there is no sshd")
    for name in ("host", "user"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": tmp_path / "host",
        "AuthorizedKeysFile": tmp_path / "user.pub",
        "PermitRootLogin": "yes",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
    }
    options = [part for name, value in given.items() for part in ("-o", f"{name}={value}")]
    process = subprocess.Popen([sshd, "-D", "-f", "/dev/null", *options], stderr=subprocess.DEVNULL)
    python = tmp_path / "python"
    python.write_text(
        f"#!/bin/sh\nexport LVM_TEST_HOST={tmp_path} PYTHONPATH={os.pathsep.join(sys.path)}\n"
        f'exec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    (tmp_path / "known").write_text(f"[127.0.0.1]:{port} {(tmp_path / 'host.pub').read_text()}")
    wait_until(lambda: process.poll() is not None or listens(port), "sshd listens")
    if process.poll() is not None:
        pytest.skip("sshd does not start here")
    yield (
        f'[ssh]\nhosts = ["127.0.0.1", "127.0.0.1"]\nremote_python = "{python}"\n'
        'worker_class = "distributed.Worker"\n'
        f'connect_options = {{port = {port}, username = "{getpass.getuser()}", known_hosts = "{tmp_path}/known",'
        f' client_keys = ["{tmp_path}/user"]}}\n'
        'scheduler_options = {host = "127.0.0.1"}\nworker_options = {host = "127.0.0.1", nthreads = 1}\n'
    )
    process.kill()
    process.wait()


def test_a_run_over_ssh(
    lvm_batch: Callable[..., Result], arguments: list[object], ssh: str, tmp_path: Path
) -> None:
    """Scheduler and worker start on the hosts, compute the units, and end with the run."""
    result = lvm_batch(*arguments, "--cluster", "ssh", "--config", job_file(tmp_path, ssh))
    assert (result.code, result.values["units_done"]) == (0, N_UNITS), result.stderr
    wait_until(lambda: not started_in(tmp_path), "what was started to end")


def started_in(folder: Path) -> list[int]:
    """Processes that the hosts' Python has started and that still run."""
    environments = (each.info for each in psutil.process_iter(["pid", "environ"]))
    return [one["pid"] for one in environments if (one["environ"] or {}).get("LVM_TEST_HOST") == str(folder)]


# Workers that join and leave


class Moving:
    """A scheduler whose workers, threads of this process, are added and removed."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster
        self.address = str(cluster.scheduler_address)

    def scale(self, n_workers: int) -> None:
        """Set the number of workers."""
        self.cluster.scale(n_workers)


@pytest.fixture(scope="module")
def moving() -> Iterator[Moving]:
    """A scheduler without workers."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with quick_cluster(0) as cluster:
        yield Moving(cluster)
        cluster.scale(0)


def test_workers_that_come_and_go_are_used(
    lvm_batch: Callable[..., Result],
    arguments: list[object],
    moving: Moving,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run waits for its first worker; one that joins gets units, and other workers redo the units of a lost one."""
    compute, seen = worker._compute, []

    def slowly(*given: Any) -> Any:  # noqa: ANN401 - those of the function
        seen.append(worker.worker_address())
        time.sleep(0.2)
        if len(seen) in {1, 4}:
            moving.scale(3 if len(seen) == 1 else 1)
        return compute(*given)

    monkeypatch.setattr(worker, "_compute", slowly)
    threading.Timer(0.5, lambda: moving.scale(1)).start()
    result = lvm_batch(*arguments, "--scheduler", moving.address, "--wait-for-workers", HANG_S)
    assert (result.code, result.values["units_done"]) == (0, N_UNITS), result.stderr
    assert len(read_rows(tmp_path / "out")) == N_UNITS * 20
    assert len(set(seen)) > 1


def test_waiting_has_an_end(moving: Moving) -> None:
    """Without a worker the wait ends with an error and a hint."""
    moving.scale(0)
    with Client(moving.address, set_as_default=False) as client:
        wait_until(lambda: not client.scheduler_info(n_workers=-1)["workers"], "the workers to go")
        with pytest.raises(TryAgain, match="it has no workers after"):
            await_workers(client, 0.3, tell=lambda _: None, where="it", hint="")


def test_adapt_submits_more_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """With --adapt Dask must see enough waiting tasks to request the maximum; otherwise the present slots count."""
    present = {"a": {"nthreads": 2}}
    monkeypatch.setattr("lvm_batch.jobs.prediction.execution.workers.worker_memory", lambda _: "")
    for most, window in ((None, 4), (10, 100)):
        expectations = WorkerExpectations(most_workers=most)
        workers = Workers(None, expectations=expectations)  # type: ignore[arg-type] # the client is not used
        monkeypatch.setattr(workers, "_ask_scheduler", lambda: present)
        assert workers.window(9) == window


def test_expectations_of_a_cluster() -> None:
    """Clusters with a queue get a longer wait; --adapt keeps at least one worker."""
    kubernetes = Kubernetes(RunSettings(cluster="kubernetes", adapt="0:8"))
    assert kubernetes.expectations() == WorkerExpectations(600, 8, may_differ=True)
    assert kubernetes.worker_range == (1, 8)
    elsewhere = backend_of(RunSettings(scheduler="tcp://a:1"))
    assert elsewhere.expectations() == WorkerExpectations(30, None, may_differ=True)
    assert backend_of(RunSettings(workers=2)).expectations() == WorkerExpectations()


# Versions

# A worker imports this and then reports other versions than this process.
_OTHER = """
from importlib import metadata
from types import SimpleNamespace

others = {others!r}
true = getattr(metadata, "true", metadata.distributions)  # a worker may import this twice
metadata.true = true

def distributions(*, name):
    return [SimpleNamespace(version=others[name])] if name in others else true(name=name)

metadata.distributions = distributions
"""


class Joining:
    """A worker process that reports other versions."""

    def __init__(self, address: str, folder: Path, others: dict[str, str]) -> None:
        preload = folder / "others.py"
        preload.write_text(_OTHER.format(others=others))
        options = ("--no-nanny", "--no-dashboard", "--nthreads", "1", "--preload", str(preload))
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        command = [sys.executable, "-m", "distributed.cli.dask_worker", address, *options]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        self.process = subprocess.Popen(command, env=environment, cwd=folder, **quiet)

    def stop(self) -> None:
        """Stop the process."""
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def skewed(moving: Moving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a scheduler with one worker that has another lvm-batch and another numpy."""
    joining = Joining(moving.address, tmp_path_factory.mktemp("skew"), {"lvm-batch": "0.0.9", "numpy": "1.0"})
    with Client(moving.address, set_as_default=False) as client:
        client.wait_for_workers(1, timeout=HANG_S)
        yield client
    joining.stop()


def test_another_lvm_batch_is_an_error(
    skewed: Client, lvm_batch: Callable[..., Result], arguments: list[object], tmp_path: Path
) -> None:
    """The error names the worker's host and both versions, and nothing is computed."""
    result = lvm_batch(*arguments, "--scheduler", skewed.scheduler.address)
    assert (result.code, result.values["error"]["kind"]) == (2, "versions")
    assert f"has lvm-batch 0.0.9, this run {OURS}" in result.values["error"]["message"]
    assert f"install lvm-batch {OURS}" in result.values["error"]["hint"]
    assert "has numpy 1.0, this run" in result.stderr
    assert not list((tmp_path / "out").glob("*.parquet"))


def test_version_differences_are_found(skewed: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any difference of lvm-batch counts; other packages may differ in the patch version, but must be installed."""
    differences = {each.package: each.theirs for each in version_differences(skewed)}
    assert differences == {"lvm-batch": "0.0.9", "numpy": "1.0"}
    notes: list[str] = []
    none = VersionDifference("tcp://a:1", "node7", "torch", "2.1", None)
    monkeypatch.setattr("lvm_batch.jobs.clusters.versions.version_differences", lambda _: [none, none])
    check_versions(skewed, tell=notes.append)
    assert notes == ["versions differ: node7 and 1 worker more has no torch, this run 2.1"]


def test_a_worker_checks_by_itself(dataset: Path, models: Path, tmp_path: Path) -> None:
    """A worker may get a unit before the driver has checked it: it hands the unit back."""
    settings = RunSettings(
        dataset=(str(dataset),), output=str(tmp_path / "out"), model=str(models / "amn.pt"), scheduler="-"
    )
    plan = make_plan(settings, threads=None)
    [refused] = run_units(replace(plan.job, release="9.9"), plan.units)
    assert isinstance(refused, Refusal)
    assert (refused.why, refused.device) == ("this run uses lvm-batch 9.9", f"lvm-batch {OURS}")


def test_a_worker_that_joins_with_another_lvm_batch_gets_no_work(
    skewed: Client,
    lvm_batch: Callable[..., Result],
    arguments: list[object],
    moving: Moving,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is refused by name, as a faulty device is, and the job continues without it."""
    moving.scale(1)
    skewed.wait_for_workers(2, timeout=HANG_S)
    [other] = {each.worker for each in version_differences(skewed)}
    here: list[object] = []
    compute = worker._compute
    monkeypatch.setattr(worker, "_compute", lambda *given: here.append(given) or compute(*given))
    monkeypatch.setattr("lvm_batch.jobs.prediction.run.check_versions", lambda *_, **__: None)
    result = lvm_batch(*arguments, "--scheduler", moving.address)
    assert (result.code, result.values["units_done"]) == (0, N_UNITS), result.stderr
    [refused] = result.values["refused_workers"]
    assert (refused["worker"], refused["device"]) == (other, "lvm-batch 0.0.9")
    assert len(here) == N_UNITS


def test_loading_a_cluster_leaves_ctrl_c_alone() -> None:
    """dask-jobqueue sets a handler for SIGINT when it is imported; the process keeps its own."""
    pytest.importorskip("dask_jobqueue", reason='pip install "lvm-batch[slurm]"')
    code = (
        "import signal; from lvm_batch.jobs.extras import import_extra;"
        "before = signal.getsignal(signal.SIGINT); import_extra('dask_jobqueue');"
        "assert signal.getsignal(signal.SIGINT) is before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
