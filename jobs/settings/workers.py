"""The settings that choose the workers: local ones, an existing scheduler, or a cluster for this run.

The rule: none of them changes a value in the output.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ByteSize, Field, JsonValue, field_validator
from pydantic_core import PydanticCustomError

from lvm_batch.io.schema import Part
from lvm_batch.jobs.settings.fields import CONTRADICTION, NO_EFFECT, HelpMark, Settings
from lvm_batch.jobs.settings.paths import Text

Table = Annotated[dict[str, JsonValue], HelpMark("Workers", "TABLE"), NO_EFFECT]

_RANGE = r"^[0-9]{1,6}:[0-9]{1,6}$"
_WORKERS = HelpMark("Workers")


class WorkerSettings(Settings):
    """Where work is done, by how many, and within which bounds."""

    workers: Annotated[Annotated[int, Field(ge=1)] | None, HelpMark("Workers", common=True), NO_EFFECT] = (
        Field(
            default=None, description="Worker processes; unless given, as many as the machine has room for."
        )
    )
    unit_timeout: Annotated[float, Field(gt=0), HelpMark("Workers", "SECONDS"), NO_EFFECT] = Field(
        default=3600, description="Time after which a work unit's worker is considered lost."
    )
    memory_limit: Annotated[
        Annotated[ByteSize, Field(gt=0)] | None, HelpMark("Workers", "SIZE"), NO_EFFECT
    ] = Field(
        default=None,
        description="Memory that each worker may use; unless given, its share of the machine. A job that would need"
        " more is refused before it starts.",
        examples=["2GiB", "900MB"],
    )
    part: Annotated[str | None, HelpMark("Workers", "N/OF"), NO_EFFECT] = Field(
        default=None,
        description="Compute only this part of the job, in processes of this machine, beside other parts: part 3 of 16,"
        " counted from 1. When all have ended, --finish.",
        examples=["3/16"],
    )
    finish: Annotated[bool, _WORKERS, NO_EFFECT] = Field(
        default=False,
        description="Compute nothing: check that the parts of the job have computed all of it, and end it as a run"
        " does.",
    )
    scheduler: Annotated[Text | None, HelpMark("Workers", "ADDRESS"), NO_EFFECT] = Field(
        default=None,
        description="Dask scheduler to run on, such as tcp://host:8786, instead of local workers; tls://host:8786"
        " takes its certificates from Dask's own settings, distributed.comm.tls.",
    )
    cluster: Annotated[Literal["slurm", "kubernetes", "ssh"] | None, _WORKERS, NO_EFFECT] = Field(
        default=None,
        description="Where to start workers for this run alone, in place of local ones. The table of that name in a"
        " --config file says how.",
    )
    adapt: Annotated[
        Annotated[str, Field(pattern=_RANGE)] | None, HelpMark("Workers", "MIN:MAX"), NO_EFFECT
    ] = Field(
        default=None,
        description="Fewest and most workers of --cluster; their number follows the remaining work.",
        examples=["1:20"],
    )
    wait_for_workers: Annotated[
        Annotated[float, Field(gt=0)] | None, HelpMark("Workers", "SECONDS"), NO_EFFECT
    ] = Field(
        default=None,
        description="Time to wait for a first worker, and for a new one if all are gone; unless given, 30 with "
        "--scheduler and 600 with --cluster.",
    )
    slurm: Table = Field(
        default_factory=dict,
        description="Arguments of dask-jobqueue's SLURMCluster, for --cluster slurm: cores, memory, queue and so"
        " on.",
    )
    kubernetes: Table = Field(
        default_factory=dict,
        description="Arguments of dask-kubernetes' KubeCluster, for --cluster kubernetes: image, resources, env"
        " and so on.",
    )
    ssh: Table = Field(
        default_factory=dict,
        description="Arguments of Dask's SSHCluster, for --cluster ssh: hosts, the first for the scheduler, and"
        " so on.",
    )

    @field_validator("part")
    @classmethod
    def _refuse_what_is_no_part(cls, part: str | None) -> str | None:
        if part is not None and Part.named(part) is None:
            hint = "give the number of the part and how many there are, such as 3/16: the first is 1/16, the last 16/16"
            raise PydanticCustomError(
                CONTRADICTION, "there is no part `{part}`", {"part": part, "hint": hint}
            )
        return part

    @field_validator("adapt")
    @classmethod
    def _refuse_ranges_of_nothing(cls, adapt: str | None) -> str | None:
        if adapt is not None:
            least, most = map(int, adapt.split(":"))
            if most < max(least, 1):
                raise ValueError("the maximum is less than the minimum")
        return adapt

    @property
    def share(self) -> Part | None:
        """The part of the job to compute; ``None`` for all of it."""
        return None if self.part is None else Part.named(self.part)

    @property
    def runs_elsewhere(self) -> bool:
        """Whether workers are on other machines than this one."""
        return bool(self.scheduler or self.cluster)
