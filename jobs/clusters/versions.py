"""Whether client and workers run the same software.

The rule: a worker with another lvm-batch computes nothing, since its results would be unknown; other packages may
differ, and one line reports each that differs in more than a patch.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from distributed import Client

_ANSWER_S = 10
_OURS = "lvm-batch"
_OTHERS = ("torch", "numpy", "pyarrow", "distributed")

_METADATA = '__import__("importlib.metadata").metadata'

# A text, as a worker may have another Python, to which no function travels, and none of this package.
_EXPRESSION = f"""{{
    "host": __import__("socket").gethostname(),
    "python": __import__("platform").python_version(),
    **{{
        name: next((each.version for each in {_METADATA}.distributions(name=name)), None)
        for name in {(_OURS, *_OTHERS)}
    }},
}}"""


class VersionSkew(JobError):
    """A worker has another lvm-batch than the client, or none."""

    kind = "versions"


@dataclass(frozen=True, slots=True)
class VersionDifference:
    """A package that a worker has in another version; ``theirs`` is ``None`` where it has none."""

    worker: str
    host: str
    package: str
    ours: str
    theirs: str | None

    @property
    def is_ours(self) -> bool:
        """Whether it is this package itself."""
        return self.package == _OURS


def version_differences(client: Client, workers: Collection[str] | None = None) -> list[VersionDifference]:
    """Return what differs on each of ``workers``, all by default: any difference of lvm-batch, and minor versions of
    other packages.

    A worker that does not answer is passed over: it checks its own lvm-batch before its first unit, and refuses.
    """
    ours = eval(_EXPRESSION)  # noqa: S307 - it is written above
    try:
        answers = client.sync(
            client._run,  # noqa: SLF001 - `run` has no limit of time
            eval,
            _EXPRESSION,
            workers=None if workers is None else list(workers),
            on_error="return",
            callback_timeout=_ANSWER_S,
        )
    except (OSError, TimeoutError):
        return []
    return [
        VersionDifference(worker, theirs["host"], package, ours[package], theirs[package])
        for worker, theirs in answers.items()
        if isinstance(theirs, dict)
        for package in (_OURS, "python", *_OTHERS)
        if _differ(package, ours[package], theirs[package])
    ]


def check_versions(client: Client, *, tell: Callable[[str], object]) -> None:
    """Report how the workers differ from this process; raises :class:`VersionSkew` if lvm-batch does."""
    differences = version_differences(client)
    for note in _notes([each for each in differences if not each.is_ours]):
        tell(note)
    wrong = [each for each in differences if each.is_ours]
    if wrong:
        first = wrong[0]
        n_others = len(wrong) - 1
        others = f", and {plural(n_others, 'other worker', ('differs', 'differ'))}" if n_others else ""
        raise VersionSkew(
            f"the worker {first.worker} on {first.host} has {describe(first)}, this run {first.ours}{others}",
            f"install lvm-batch {first.ours} in the workers' environment, and start them again",
        )


def describe(difference: VersionDifference) -> str:
    """Describe a worker's version of a package."""
    package, theirs = difference.package, difference.theirs
    return f"no {package}" if theirs is None else f"{package} {theirs}"


def _notes(differences: Sequence[VersionDifference]) -> Iterator[str]:
    """Yield one line for each package and version, however many workers have it."""
    together: defaultdict[tuple[str, str], list[VersionDifference]] = defaultdict(list)
    for each in differences:
        together[each.package, describe(each)].append(each)
    for (_, theirs), found in sorted(together.items()):
        more = f" and {plural(len(found) - 1, 'worker')} more" if len(found) > 1 else ""
        yield f"versions differ: {found[0].host}{more} has {theirs}, this run {found[0].ours}"


def _differ(package: str, ours: str | None, theirs: str | None) -> bool:
    if package == _OURS:
        return ours != theirs
    return _minor(ours) != _minor(theirs)


def _minor(version: str | None) -> list[str] | None:
    return None if version is None else version.split(".")[:2]
