"""A scheduler behind TLS: certificates from Dask's own settings, and the errors if they do not work."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import dask
import pytest
import trustme
from distributed import LocalCluster
from distributed.security import Security
from support.datasets import read_rows, windows, write_windows

from lvm_batch.jobs.clusters.tls import variable_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.command import Result

pytestmark = pytest.mark.slow

CA = "distributed.comm.tls.ca-file"
CERT = "distributed.comm.tls.client.cert"
KEY = "distributed.comm.tls.client.key"


def certified(folder: Path) -> dict[str, str]:
    """Write an authority and its certificate; return Dask's settings for a client that has them."""
    folder.mkdir()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    leaf = authority.issue_cert("127.0.0.1", "localhost")
    leaf.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    leaf.private_key_pem.write_to_path(folder / "key.pem")
    return {name: str(folder / file) for name, file in ((CA, "ca.pem"), (CERT, "cert.pem"), (KEY, "key.pem"))}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The certificates of the scheduler and its worker."""
    return certified(tmp_path_factory.mktemp("tls") / "own")


@pytest.fixture(scope="module")
def secure(own: dict[str, str]) -> Iterator[str]:
    """The address of a scheduler that talks TLS with its worker."""
    roles = {
        f"tls_{role}_{part}": own[name]
        for role in ("scheduler", "worker", "client")
        for part, name in (("cert", CERT), ("key", KEY))
    }
    security = Security(tls_ca_file=own[CA], require_encryption=True, **roles)
    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        protocol="tls://",
        security=security,
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def run_over_tls(
    secure: str, tmp_path: Path, models: Path, predict: Callable[..., Result]
) -> Callable[[dict[str, Any]], Result]:
    """Run a small job on the scheduler with changed Dask settings."""
    contexts, targets = (part[:40] for part in windows())
    write_windows(tmp_path / "in.parquet", contexts, targets)

    def call(settings: dict[str, Any]) -> Result:
        with dask.config.set(dict.fromkeys((CA, CERT, KEY)) | settings):
            return predict(tmp_path / "in.parquet", "--output", tmp_path / "out", "--scheduler", secure)

    return call


def test_a_run_over_tls(
    run_over_tls: Callable[[dict[str, Any]], Result], own: dict[str, str], secure: str, tmp_path: Path
) -> None:
    """With the certificates in Dask's settings, a scheduler behind TLS works like any other."""
    assert secure.startswith("tls://")
    result = run_over_tls(own)
    assert result.code == 0, result.stderr
    assert len(read_rows(tmp_path / "out")) == 40


@pytest.mark.parametrize("missing", [(CA,), (CERT, KEY), (CA, CERT, KEY)])
def test_certificates_that_are_not_named(
    run_over_tls: Callable[[dict[str, Any]], Result],
    own: dict[str, str],
    missing: tuple[str, ...],
    tmp_path: Path,
) -> None:
    """Each missing setting is named, with its variable, before anything is contacted or written."""
    result = run_over_tls(own | dict.fromkeys(missing))
    assert result.code == 2
    error = result.values["error"]
    text = " ".join(f"{each['message']} {each['hint']}" for each in error.get("problems", [error]))
    assert all(name in text and variable_of(name) in text for name in missing)
    assert not (tmp_path / "out").exists()


def test_variables_are_those_that_dask_reads() -> None:
    """Setting the named variable sets the missing setting."""
    assert dask.config.collect_env({variable_of(CA): "x"})["distributed"]["comm"]["tls"] == {"ca_file": "x"}


@pytest.mark.parametrize(
    ("setting", "content", "reason"),
    [
        (CA, None, "No such file"),
        (CA, "no PEM", "it contains no certificate"),
        (CERT, None, "No such file"),
        (KEY, "no PEM", f"{CERT} and {KEY} cannot be used"),
    ],
)
def test_certificates_that_cannot_be_used(
    run_over_tls: Callable[[dict[str, Any]], Result],
    own: dict[str, str],
    tmp_path: Path,
    setting: str,
    content: str | None,
    reason: str,
) -> None:
    """A file that is missing or is no certificate is named with its setting."""
    path = tmp_path / "other.pem"
    if content is not None:
        path.write_text(content)
    result = run_over_tls(own | {setting: str(path)})
    assert (result.code, result.values["error"]["kind"]) == (2, "settings")
    assert setting in result.values["error"]["message"]
    assert reason in result.values["error"]["message"]
    assert str(path) in result.values["error"]["message"]


def test_certificates_of_another_authority(
    run_over_tls: Callable[[dict[str, Any]], Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler with another authority's certificate exits with 75, and the error says what to compare."""
    monkeypatch.setattr("lvm_batch.jobs.clusters.scheduler.Scheduler.wait_s", 1)
    result = run_over_tls(certified(tmp_path / "others"))
    assert (result.code, result.values["error"]["kind"]) == (75, "try_again")
    assert CA in result.values["error"]["hint"]
    assert "Traceback" not in result.stderr
