"""Packages that only some options need.

The rule: a missing package is named with the command that installs it; looking for it does not import it.
"""

from __future__ import annotations

from importlib.util import find_spec

from lvm_batch.jobs.errors import MissingExtra


def require(package: str, *, option: str, extra: str) -> None:
    """Raise :class:`MissingExtra` unless ``package`` is installed."""
    if find_spec(package) is None:
        raise MissingExtra(
            f"{option} needs {package}, which is not installed", f'pip install "lvm-batch[{extra}]"'
        )
