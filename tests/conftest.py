"""Fixtures that tests share: models with fresh weights, a bank, and a cluster that is started once."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import shutil
import sys
import types
from typing import TYPE_CHECKING

import hypothesis
import pytest
from support.command import Result, called

from lvm_batch.jobs.processes import forkserver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


# There are as many test processes as cores: waiting threads that spin would take time from working ones.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# After torch, Dask and three thousand tests there are millions of objects; looking through them less often takes a
# thirtieth of the time from the suite.
gc.set_threshold(20_000, 20, 20)

# Every run of the suite tries the same examples, without a time limit. FUZZ_EXAMPLES=5000 pytest
# tests/hostile searches for new findings: at random, and with that many examples of each kind.
_EXAMPLES = os.environ.get("FUZZ_EXAMPLES")
hypothesis.settings.register_profile(
    "suite",
    derandomize=_EXAMPLES is None,
    deadline=None,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large],
)
hypothesis.settings.load_profile("suite")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Seed every test alike, whatever ran before it."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ignore settings in the caller's environment."""
    for variable in [name for name in os.environ if name.startswith("LVM_BATCH_")]:
        monkeypatch.delenv(variable)


@pytest.fixture(scope="session", autouse=True)
def _commands_made_once() -> Iterator[None]:
    """Keep typer from making all commands anew at every call in this process, a quarter of what a short one takes."""
    import typer.main

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_fork_server() -> Iterator[None]:
    """Keep a run on a given scheduler from ending the fork server, of which it has no need.

    The next test with processes of its own would start another one, which imports torch for two seconds.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lvm_batch.jobs.observed_run.stop_forkserver", lambda: None)
        yield


@pytest.fixture(autouse=True)
def _leaves_no_cold_fork_server() -> Iterator[None]:
    """Fail a test that starts a fork server without torch: each of its copies would import it."""
    yield
    started = sys.modules.get("multiprocessing.forkserver")
    if started and started._forkserver._forkserver_pid is not None:
        assert forkserver._servers, "call start_forkserver() before processes are started with its method"


@pytest.fixture(scope="session", autouse=True)
def _quick_collections() -> Iterator[None]:
    """Keep runs in this process from looking through all of the suite's objects, two seconds at a time.

    Each run does so twice, when it measures the memory of a query.
    """
    with pytest.MonkeyPatch.context() as patch:
        quick = types.SimpleNamespace(collect=functools.partial(gc.collect, 0))
        patch.setattr("lvm_batch.jobs.processes.resources.gc", quick)
        yield


@pytest.fixture(scope="session", autouse=True)
def _workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty working directory, so that files written without a path never stay in the checkout."""
    folder = tmp_path_factory.mktemp("workplace")
    with contextlib.chdir(folder):
        yield folder


@pytest.fixture(autouse=True)
def _leaves_nothing(_workplace: Path) -> Iterator[None]:
    """Fail a test that leaves files in the working directory: it belongs in a folder of its own."""
    yield
    left = sorted(_workplace.iterdir())
    for path in left:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert not left, "call monkeypatch.chdir(tmp_path) before a command that writes where it is called"


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with amn.pt and gru.pt: production's format, fresh weights, few parameters, quick to load."""
    return write_models(
        tmp_path_factory.mktemp("models"),
        amn={"d_model": 32, "hidden_dim": 32},
        gru={"d_model": 32, "num_layers": 1},
    )


@pytest.fixture(scope="session")
def published_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with as many parameters as the published models have."""
    return write_models(tmp_path_factory.mktemp("published"))


def write_models(folder: Path, **sizes: dict[str, int]) -> Path:
    """Write fresh models of ``sizes``, by default the published ones."""
    from lvm_batch.lvm import save_checkpoint
    from lvm_batch.lvm.architectures.catalog import build_model

    for name in ("amn", "gru"):
        model = build_model(name, seed=7, **sizes.get(name, {}))
        save_checkpoint(
            folder / f"{name}.pt", model, architecture=name, epoch=1, val_loss=0.5, val_cosine=0.5
        )
    return folder


@pytest.fixture(scope="session")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank of the sample's vectors."""
    from importlib.resources import as_file, files

    from lvm_batch.io.bank.bank import build_bank
    from lvm_batch.io.dataset.files import find_files

    folder = tmp_path_factory.mktemp("bank") / "bank"
    with as_file(files("lvm_batch.io.sample") / "wikipedia_sample.parquet") as path:
        build_bank(find_files([str(path)]), str(folder))
    return folder


@pytest.fixture(scope="session")
def scheduler() -> Iterator[str]:
    """The address of a real scheduler with two workers, in threads of this process: quick to start, over TCP."""
    import logging

    from support.quick_cluster import quick_cluster

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # otherwise it hides every failure
    with quick_cluster(2) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def lvm_batch() -> Callable[..., Result]:
    """Call the command in this process, with --json; the result is a ``Result``."""
    return called


@pytest.fixture
def predict(
    lvm_batch: Callable[..., Result], models: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Call ``run`` with the fresh models on the shared cluster; later options override the fixture's.

    No report is drawn, which takes longer than such a run; tests of the report start their runs without this
    fixture.
    """
    monkeypatch.setattr("lvm_batch.jobs.reports.report_writer.write_report", lambda *_, **__: None)

    def call(*arguments: object) -> Result:
        defaults = ("--model", models / "amn.pt", "--fallback", models / "gru.pt", "--scheduler", scheduler)
        return lvm_batch("run", *defaults, *arguments)

    return call
