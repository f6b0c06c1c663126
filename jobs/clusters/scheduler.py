"""Workers of a scheduler that is there already, named by ``--scheduler``.

The rule: within half a minute, or the time that the user allows, there is a worker, or an error that says what
is missing.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from distributed import Client
from distributed.comm.addressing import parse_address, parse_host_port
from distributed.comm.registry import get_backend

from lvm_batch.jobs.clusters.backend import Backend, Preview, WorkerExpectations
from lvm_batch.jobs.clusters.tls import client_security
from lvm_batch.jobs.clusters.waiting import await_workers
from lvm_batch.jobs.errors import Problem, TryAgain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvm_batch.jobs.clusters.backend import WorkerRequest


class Scheduler(Backend):
    """A scheduler that is already running, with workers that are installed by others."""

    name = "scheduler"

    @property
    def address(self) -> str:
        """The address as it was given."""
        return str(self.settings.scheduler)

    def check(self) -> Iterator[Problem]:
        """Yield an address that cannot be one; raises :class:`SettingsError` if certificates are missing."""
        if not _is_address(self.address):
            yield Problem(f"--scheduler cannot be {self.address!r}", "it must look like tcp://host:8786")
        elif self._is_secure:
            client_security()

    def preview(self) -> Preview:
        """Return the address: how many workers there are is not known yet."""
        return Preview(self.address)

    def expectations(self) -> WorkerExpectations:
        """Expect workers that are installed by others."""
        return WorkerExpectations(self.patience_s, may_differ=True)

    @contextmanager
    def start(self, request: WorkerRequest) -> Iterator[Client]:
        """Connect to the scheduler and wait for its first worker."""
        with self._connect() as client:
            await_workers(
                client,
                self.patience_s,
                tell=request.tell,
                where=f"the scheduler at {self.address}",
                hint=f"start one: `dask worker {self.address}`",
            )
            yield client

    def _connect(self) -> Client:
        security = client_security() if self._is_secure else None
        timeout_s = min(self.patience_s, self.wait_s)
        try:
            return Client(self.address, timeout=timeout_s, set_as_default=False, security=security)
        except (OSError, ValueError) as error:
            hint = "start one with `dask scheduler`, or check the address"
            certified = (
                ", and that the certificates of both sides come from the same distributed.comm.tls.ca-file"
            )
            raise TryAgain(
                f"no scheduler answers at {self.address}: {error}", hint + certified * self._is_secure
            ) from error

    @property
    def _is_secure(self) -> bool:
        return self.address.startswith("tls:")


def _is_address(text: str) -> bool:
    """Whether a scheduler could be reached there, as far as that can be known without contacting it."""
    try:
        scheme, place = parse_address(text, strict=True)
        get_backend(scheme)
        return scheme == "inproc" or bool(parse_host_port(place)[0])
    except ValueError:
        return False
