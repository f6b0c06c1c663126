"""The contract of every kind of cluster: local, a scheduler, and each cluster that a run starts itself."""

from __future__ import annotations

import ast
import inspect
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, get_args

import pytest
from support.quick_cluster import quick_cluster

from lvm_batch.jobs.clusters.backend import LocalWorkers, WorkerRequest
from lvm_batch.jobs.clusters.check import check_cluster
from lvm_batch.jobs.clusters.kinds import KINDS, backend_of
from lvm_batch.jobs.clusters.start import OwnCluster
from lvm_batch.jobs.errors import SettingsError, TryAgain, UsageError
from lvm_batch.jobs.prediction.planning.memory import memory_limit
from lvm_batch.jobs.settings.run import RunSettings
from lvm_batch.jobs.settings.workers import WorkerSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import LocalCluster

pytestmark = pytest.mark.slow

JOBS = (Path(__file__).parents[3] / "jobs").resolve()
OWN = {name: kind for name, kind in KINDS.items() if issubclass(kind, OwnCluster)}


class Example(NamedTuple):
    """Settings that a kind accepts, and what follows: the workers, a part of the request, the bytes of a worker."""

    settings: dict[str, Any]
    workers: str | None = None
    request: str | None = None
    memory: int | None = None


EXAMPLES = {
    "local": Example({"workers": 2, "memory_limit": "1GB"}, memory=10**9),
    "scheduler": Example({"scheduler": "tcp://a:1"}, "tcp://a:1"),
    "slurm": Example(
        {"workers": 3, "slurm": {"cores": 2, "processes": 2, "memory": "4GB"}},
        "slurm, 3 of them",
        "#SBATCH --cpus-per-task=2",
        2 * 10**9,
    ),
    "kubernetes": Example(
        {"adapt": "1:3", "kubernetes": {"image": "x", "resources": {"limits": {"memory": "4Gi"}}}},
        "kubernetes, 1 to 3 of them",
        "kind: DaskCluster",
        4 * 2**30,
    ),
    "ssh": Example({"ssh": {"hosts": ["a", "b", "c"]}}, "ssh, on 2 hosts", "workers on b, c"),
}


def settings_of(kind: str, **more: Any) -> RunSettings:  # noqa: ANN401 - values of settings
    """The example's settings."""
    named = {"cluster": kind} if kind in OWN else {}
    return RunSettings.model_validate(EXAMPLES[kind].settings | named | more)


def own(kind: str, **more: Any) -> OwnCluster:  # noqa: ANN401 - values of settings
    """The run's own cluster with the example's settings; skipped if its package is not installed."""
    pytest.importorskip(OWN[kind].schema.package)
    backend = backend_of(settings_of(kind, **more))
    assert isinstance(backend, OwnCluster)
    return backend


def test_each_kind_can_be_requested() -> None:
    """Every cluster is a value of --cluster, a table and an extra, and every kind has an example here."""
    values = {
        value for each in get_args(RunSettings.model_fields["cluster"].annotation) for value in get_args(each)
    }
    assert values == set(OWN)
    assert values <= set(RunSettings.model_fields)
    assert values <= set(metadata.metadata("lvm-batch").get_all("Provides-Extra", []))
    assert set(EXAMPLES) == set(KINDS)
    assert all(kind.schema.name == name for name, kind in OWN.items())


def test_only_its_own_module_knows_a_kind() -> None:
    """Outside the folder of clusters only the setting names a kind, so that a new kind is one new module."""
    allowed = {Path(inspect.getfile(WorkerSettings)).resolve(), *(JOBS / "clusters").iterdir()}
    knowing = [
        f"{module.relative_to(JOBS)}: {node.value}"
        for module in set(JOBS.rglob("*.py")) - allowed
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Constant) and node.value in OWN
    ]
    assert not knowing


@pytest.mark.parametrize("kind", KINDS)
def test_valid_settings_pass_and_are_shown(kind: str) -> None:
    """The checks accept the example; a plan shows the number of workers and the request."""
    if kind in OWN:
        pytest.importorskip(OWN[kind].schema.package)
    settings = settings_of(kind)
    check_cluster(settings)
    backend = backend_of(settings)
    assert backend.name == kind
    preview = backend.preview()
    assert preview.workers == EXAMPLES[kind].workers
    assert (EXAMPLES[kind].request or "") in (preview.request or "")
    assert (preview.request is None) == (EXAMPLES[kind].request is None)


@pytest.mark.parametrize("kind", KINDS)
def test_the_memory_of_a_worker(kind: str) -> None:
    """The limit in a table overrides --memory-limit, which holds if the table has none."""
    if kind in OWN:
        pytest.importorskip(OWN[kind].schema.package)
    assert memory_limit(settings_of(kind)) == EXAMPLES[kind].memory
    limited = memory_limit(settings_of(kind, memory_limit="1GB"))
    assert limited == EXAMPLES[kind].memory or limited == 10**9


@pytest.mark.parametrize("kind", OWN)
def test_a_table_is_checked_by_what_its_class_takes(kind: str) -> None:
    """Every key with a declared type is a parameter of the class; all errors are reported at once."""
    schema = own(kind).schema
    assert schema.types.keys() <= schema.parameters() - schema.refused.keys()
    wrong = {**dict.fromkeys(schema.types), **dict.fromkeys(schema.refused), "no_such_key": 1}
    with pytest.raises(SettingsError) as caught:
        check_cluster(settings_of(kind, **{kind: wrong}))
    messages = [problem.message for problem in caught.value.problems]
    assert len(messages) == len(wrong)
    assert all(f"{key} in [{kind}]" in message for key, message in zip(wrong, messages, strict=True))


@pytest.mark.parametrize("kind", OWN)
def test_an_option_that_is_not_for_a_kind_is_refused(kind: str) -> None:
    """--adapt, --workers and --dashboard are accepted only by kinds that support them."""
    backend = own(kind)
    for given, takes in (
        ({"adapt": "1:2", "workers": None}, backend.adapts),
        ({"workers": 1, "adapt": None}, backend.adapts),
        ({"dashboard": ":0"}, backend.scheduler_is_here),
    ):
        if takes:
            check_cluster(settings_of(kind, **given))
        else:
            with pytest.raises(SettingsError, match=f"--{next(iter(given))}"):
                check_cluster(settings_of(kind, **given))


# Starting


class Recorded:
    """A cluster of threads in place of Dask's own class for a kind; records its calls."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster
        self.scaled: list[int] = []
        self.adapted: list[dict[str, Any]] = []
        self.closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def __getattr__(self, name: str) -> object:
        return getattr(self.cluster, name)

    def scale(self, n_workers: int) -> None:
        """Record the number of workers."""
        self.scaled.append(n_workers)

    def adapt(self, **bounds: Any) -> None:  # noqa: ANN401 - those of Dask
        """Record the bounds."""
        self.adapted.append(bounds)


@pytest.fixture(scope="module")
def running() -> Iterator[LocalCluster]:
    """A scheduler with one worker."""
    with quick_cluster(1) as cluster:
        yield cluster


def request(n_units: int) -> WorkerRequest:
    """A request for the workers of that many units."""
    return WorkerRequest(n_units, LocalWorkers(1))


@pytest.mark.parametrize("kind", OWN)
def test_no_more_workers_are_requested_than_there_are_units(
    kind: str, running: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of units bounds the initial and the maximum number; the cluster closes with the block."""
    adapt = {"adapt": "1:9", "workers": None} if OWN[kind].adapts else {}
    backend, made = own(kind, **adapt), Recorded(running)
    monkeypatch.setattr(backend, "make", lambda: made)
    with backend.start(request(2)) as client:
        assert client.submit(int, "7").result() == 7
        assert not made.closed
    assert made.closed
    assert all(n_workers <= 2 for n_workers in made.scaled)
    assert [(each["minimum"], each["maximum"]) for each in made.adapted] == ([(1, 2)] if adapt else [])


@pytest.mark.parametrize("kind", OWN)
def test_a_cluster_that_does_not_start_may_be_tried_again(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever Dask's class raises, the error names the kind with its own hint, and the attempt is cleaned up."""
    backend, given_up = own(kind), []

    def broken() -> None:
        raise Exception("no  host\nanswers")  # noqa: TRY002 - as Dask's do

    monkeypatch.setattr(backend, "make", broken)
    monkeypatch.setattr(backend, "give_up", lambda: given_up.append(kind))
    with pytest.raises(TryAgain) as caught, backend.start(request(1)):
        pass
    assert caught.value.args == (f"--cluster {kind} did not start: no host answers", backend.if_not_started)
    assert given_up == [kind]


@pytest.mark.parametrize("kind", OWN)
def test_a_user_error_keeps_its_message(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user error keeps its message, and is not turned into TryAgain."""
    backend = own(kind)

    def refuse() -> None:
        raise UsageError("not here", "elsewhere")

    monkeypatch.setattr(backend, "make", refuse)
    with pytest.raises(UsageError, match="not here"), backend.start(request(1)):
        pass


@pytest.mark.parametrize("kind", OWN)
def test_a_worker_that_is_refused_ends_the_waiting(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait ends at once with the reason, and with a hint where to look for workers of this kind."""
    backend = own(kind)
    with quick_cluster(0) as empty:
        made = Recorded(empty)
        monkeypatch.setattr(backend, "make", lambda: made)
        backend.refused.append("no such queue")
        with pytest.raises(TryAgain) as caught, backend.start(request(1)):
            pass
    assert caught.value.args == (
        f"--cluster {kind} cannot start a worker: no such queue",
        backend.if_no_worker,
    )
    assert made.closed
