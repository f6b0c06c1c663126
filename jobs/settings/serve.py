"""The settings of a service.

The rule: settings that decide an answer are those of a run, so that one TOML file serves both. Only what a service adds
is declared here.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import ByteSize, Field

from lvm_batch.jobs.settings.fields import NO_EFFECT, HelpMark
from lvm_batch.jobs.settings.paths import Text
from lvm_batch.jobs.settings.run import RunSettings

_RUNNING = HelpMark("Running")

TAKEN = (
    "pad",
    "output_dtype",
    "rename",
    "model",
    "fallback",
    "bank",
    "release",
    "neighbours",
    "models_dir",
    "device",
    "fallback_device",
    "precision",
    "own_context",
    "min_confidence",
    "min_margin",
    "max_context_tokens",
    "high_stakes_lane",
    "router",
    "host",
    "port",
    "max_batch",
    "max_queue",
    "max_body",
    "threads",
    "drain",
    "context_column",
    "target_column",
    "lane_column",
    "context_tokens_column",
)
"""The options of ``serve``, in the order of its help; the columns are those of Arrow bodies."""


class ServeSettings(RunSettings):
    """The settings of a service, and those of a run, of which a service uses the ones in :data:`TAKEN`."""

    host: Annotated[Text, HelpMark("Running", "ADDRESS", common=True), NO_EFFECT] = Field(
        default="127.0.0.1", description="Address to listen on; 0.0.0.0 is every address of this machine."
    )
    port: Annotated[Annotated[int, Field(ge=0, le=65535)], HelpMark("Running", common=True), NO_EFFECT] = (
        Field(default=8000, description="Port to listen on; 0 takes a free one.")
    )
    max_batch: Annotated[Annotated[int, Field(ge=1, le=4096)], _RUNNING, NO_EFFECT] = Field(
        default=64, description="Rows that the models answer at once, from any number of requests."
    )
    max_queue: Annotated[Annotated[int, Field(ge=1)], _RUNNING, NO_EFFECT] = Field(
        default=256, description="Most requests in progress; others are refused with 429."
    )
    max_body: Annotated[Annotated[ByteSize, Field(gt=0)], HelpMark("Running", "SIZE"), NO_EFFECT] = Field(
        default=ByteSize(16 * 2**20),
        description="Largest body that is read; a larger one is refused (413).",
        examples=["16MiB", "500kB"],
    )
    threads: Annotated[Annotated[int, Field(ge=1)], _RUNNING, NO_EFFECT] = Field(
        default=1, description="Threads of one model call."
    )
    drain: Annotated[float, Field(ge=0), HelpMark("Running", "SECONDS"), NO_EFFECT] = Field(
        default=2,
        description="Time after SIGTERM during which requests are still taken while /ready already answers 503.",
    )
