"""The settings of a run: what they are called, what they mean and what they may be.

The rule: each setting is declared once. Its option, its environment variable, its key in a TOML file, its help and its
JSON Schema all follow from the declaration. This module does not know where values come from (``resolution``) or how
options are made (``options``).
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BeforeValidator, ByteSize, Field, JsonValue, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from lvm_batch.jobs.declared import CONTRADICTION, Settings, Shown, names_of
from lvm_batch.jobs.prediction.dashboard import Address
from lvm_batch.jobs.prediction.pings import PingURL
from lvm_batch.jobs.times import SPAN, as_span, as_time
from lvm_batch.lvm.thresholds import Thresholds

_RANGE = r"^[0-9]{1,6}:[0-9]{1,6}$"
_CARD = Thresholds()  # the model cards' own

Text = Annotated[str, Field(min_length=1)]
Rate = Annotated[float, Field(ge=0, le=1)]
Cosine = Annotated[float, Field(ge=-1, le=1)]
Column = Annotated[Text, Shown("Column names", "NAME")]
Time = Annotated[datetime, BeforeValidator(as_time)]
Table = Annotated[dict[str, JsonValue], Shown("Running", "TABLE")]

_FILES = Shown("Files")
_MODELS = Shown("Models")
_TIME = Shown("Selection by time", "TIME")
_ROUTING = Shown("Routing")
_RUNNING = Shown("Running")


class DatasetSettings(Settings):
    """How a dataset is to be understood: what every command that reads one can be told."""

    dataset: Annotated[tuple[Text, ...], Shown("Arguments", "DATASET")] = Field(
        default=(), description="Parquet files, folders, globs or URLs to read."
    )
    layout: Annotated[Literal["auto", "windows", "sequences"], _FILES] = Field(
        default="auto", description="What a row is: a whole context, or one vector of an article."
    )

    context_column: Column = Field(default="context", description="Five vectors, in windows.")
    vector_column: Column = Field(default="vector", description="One vector, in sequences.")
    target_column: Column = Field(default="target", description="The true next vector.")
    lane_column: Column = Field(default="lane", description="The row's lane.")
    context_tokens_column: Column = Field(
        default="context_tokens", description="Tokens of the whole context."
    )
    tokens_column: Column = Field(default="tokens", description="Tokens of one row, in sequences.")
    split_column: Column = Field(default="split", description="in_dist or ood.")
    article_column: Column = Field(
        default="article_id", description="Which article a row is of, in sequences."
    )
    position_column: Column = Field(default="position", description="Place in the article, in sequences.")


class RunSettings(DatasetSettings):
    """Everything that a run can be told.

    Keys of a TOML file are these names; paths are relative to where the command is called.
    """

    output: Annotated[str, Shown("Files", "OUT")] = Field(
        default="", description="Folder or URL to write to; the same job resumes there."
    )
    history: Annotated[Text | None, _FILES] = Field(
        default=None, description="Folder or URL that gets a small file about each run, for monitor."
    )
    openlineage: Annotated[Text | None, Shown("Running", "NAME")] = Field(
        default=None,
        description="Name of this job in OpenLineage, which is told what a run reads and writes. Where OpenLineage is"
        " found stands in OPENLINEAGE_URL or openlineage.yml.",
    )
    ping_url: Annotated[PingURL | None, Shown("Running", "URL")] = Field(
        default=None,
        description="Health check that is told how the run goes, as healthchecks.io takes it. Whoever has the address"
        " can ping: LVM_BATCH_PING_URL keeps it out of lists of processes. It is shown nowhere.",
        examples=["https://hc-ping.com/UUID"],
    )
    pad: Annotated[Literal["repeat", "zero", "reject"] | None, _FILES] = Field(
        default=None,
        description="What stands in for missing vectors of a short context. Unless given, windows repeat"
        " their first vector, and the first rows of an article in sequences get no prediction.",
    )
    on_bad_file: Annotated[Literal["fail", "skip"], _FILES] = Field(
        default="fail", description="Whether an unreadable file stops the job before it starts."
    )
    max_bad_rows: Annotated[Rate, _FILES] = Field(
        default=0.01, description="Fraction of bad_input rows above which the job fails."
    )
    output_dtype: Annotated[Literal["float32", "float16"], _FILES] = Field(
        default="float32", description="Type of the values of a prediction."
    )
    rename: Annotated[tuple[Annotated[str, Field(pattern=r"^[^=]+=.+$")], ...], Shown("Files", "OLD=NEW")] = (
        Field(
            default=(),
            description="New name of a carried column; repeatable.",
            examples=["route=old_route"],
        )
    )

    as_of: Annotated[Time | None, _TIME] = Field(
        default=None,
        description="Time that the run is for. It fills in {date}, {date_nodash}, {year}, {month}, {day} and {hour} in"
        " every text setting, also as {date-1d} or {hour+2h}; `now` is the present.",
        examples=["2026-11-22", "2026-11-22T06:00Z", "now"],
    )
    since: Annotated[Time | None, _TIME] = Field(
        default=None,
        description="Read input files of this time and later: that of their folders, as date=2026-11-22, or else that"
        " at which they were written. Without an offset it is UTC.",
        examples=["2026-11-22", "2026-11-22T06:00Z"],
    )
    until: Annotated[Time | None, _TIME] = Field(
        default=None,
        description="Read input files of before this time.",
        examples=["2026-11-23", "2026-11-23T06:00Z"],
    )
    lookback: Annotated[Annotated[str, Field(pattern=SPAN)] | None, Shown("Selection by time", "SPAN")] = (
        Field(
            default=None,
            description="Begin so much before --since, for files that came late; else before --until or --as-of.",
            examples=["3d", "12h"],
        )
    )
    time_column: Annotated[Text | None, Shown("Selection by time", "NAME")] = Field(
        default=None,
        description="Folder column that tells a file's time, or `modified`. Unless given: date, dt, ds or datetime, or"
        " year, month and day, with hour; else when the file was written.",
    )
    reprocess: Annotated[Literal["missing", "failed", "all"], Shown("Selection by time")] = Field(
        default="missing",
        description="What is predicted of the files that are read: what is missing; besides, files that have changed"
        " and units that had bad rows; or all.",
    )

    model: Annotated[Text | None, Shown("Models", "CKPT")] = Field(
        default=None, description="Primary checkpoint: a path, or a name under the models folder."
    )
    fallback: Annotated[Text | None, Shown("Models", "CKPT")] = Field(
        default=None, description="Checkpoint that escalated rows are run through."
    )
    bank: Annotated[Text | None, Shown("Models", "PATH")] = Field(
        default=None, description="Bank of vectors that confidence and margin are measured against."
    )
    models_dir: Annotated[Text, Shown("Models", "DIR")] = Field(
        default="artifacts/lvm/models", description="Folder of named models, with their roles beside it."
    )
    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], _MODELS] = Field(
        default="auto", description="Where models run."
    )
    fallback_device: Annotated[Literal["cpu", "cuda", "mps"] | None, _MODELS] = Field(
        default=None,
        description="Where the fallback runs; unless given, where the primary model does, but beside mps on the CPU.",
    )
    precision: Annotated[Literal["fp32", "tf32", "bf16", "fp16", "int8"], _MODELS] = Field(
        default="fp32",
        description="Arithmetic that models run in. All but fp32 are a little off, and mostly faster: int8 needs a CPU,"
        " tf32 and fp16 need CUDA, bf16 runs on both.",
    )

    min_confidence: Annotated[Cosine, _ROUTING] = Field(
        default=_CARD.min_confidence, description="A row with a lower confidence is escalated."
    )
    min_margin: Annotated[float, Field(ge=0, le=2), _ROUTING] = Field(
        default=_CARD.min_margin, description="A row with a lower margin is escalated."
    )
    max_context_tokens: Annotated[int, Field(ge=0), _ROUTING] = Field(
        default=int(_CARD.max_context_tokens), description="A row with more context tokens is escalated."
    )
    high_stakes_lane: Annotated[tuple[Text, ...], Shown("Routing", "LANE")] = Field(
        default=_CARD.high_stakes_lanes, description="A row of this lane is escalated; repeatable."
    )
    max_fallback_rate: Annotated[Rate, _ROUTING] = Field(
        default=0.20, description="Fraction of rows that may be escalated."
    )
    fallback_policy: Annotated[Literal["warn", "cap", "fail"], _ROUTING] = Field(
        default="warn", description="What happens above that fraction."
    )
    shadow_rate: Annotated[Rate, _ROUTING] = Field(
        default=0.01, description="Fraction of rows run through both models to compare them."
    )

    workers: Annotated[Annotated[int, Field(ge=1)] | None, _RUNNING] = Field(
        default=None, description="Worker processes; unless given, what the machine holds."
    )
    unit_timeout: Annotated[float, Field(gt=0), Shown("Running", "SECONDS")] = Field(
        default=3600, description="Time that a work unit may take before its worker is given up."
    )
    memory_limit: Annotated[Annotated[ByteSize, Field(gt=0)] | None, Shown("Running", "SIZE")] = Field(
        default=None,
        description="Memory that each worker may use; unless given, its share of the machine. A job that would need"
        " more is refused before it starts.",
        examples=["2GiB", "900MB"],
    )
    scheduler: Annotated[Text | None, Shown("Running", "ADDRESS")] = Field(
        default=None,
        description="Dask scheduler to run on, such as tcp://host:8786, in place of local workers; tls://host:8786"
        " takes its certificates from Dask's own settings, distributed.comm.tls.",
    )
    cluster: Annotated[Literal["slurm", "kubernetes", "ssh"] | None, _RUNNING] = Field(
        default=None,
        description="Where to start workers for this run alone, in place of local ones. The table of that name in a"
        " --config file says how.",
    )
    adapt: Annotated[Annotated[str, Field(pattern=_RANGE)] | None, Shown("Running", "MIN:MAX")] = Field(
        default=None,
        description="Workers that --cluster has at least and at most, as many as the work that is left can use.",
        examples=["1:20"],
    )
    wait_for_workers: Annotated[Annotated[float, Field(gt=0)] | None, Shown("Running", "SECONDS")] = Field(
        default=None,
        description="Time to wait for a first worker, and for another once all have gone; unless given, 30 with"
        " --scheduler and 600 with --cluster.",
    )
    slurm: Table = Field(
        default_factory=dict,
        description="What dask-jobqueue's SLURMCluster is made with, for --cluster slurm: cores, memory, queue and so"
        " on.",
    )
    kubernetes: Table = Field(
        default_factory=dict,
        description="What dask-kubernetes' KubeCluster is made with, for --cluster kubernetes: image, resources, env"
        " and so on.",
    )
    ssh: Table = Field(
        default_factory=dict,
        description="What Dask's SSHCluster is made with, for --cluster ssh: hosts, the first for the scheduler, and"
        " so on.",
    )
    metrics_file: Annotated[Text | None, Shown("Running", "FILE")] = Field(
        default=None,
        description="File for node_exporter's textfile collector, *.prom, that tells how the run ended.",
    )
    dashboard: Annotated[Address | None, Shown("Running", "ADDRESS")] = Field(
        default=None,
        description="Where Dask's dashboard is served while local workers compute; :0 takes any free port.",
        examples=["127.0.0.1:8787", "127.0.0.1:0"],
    )
    performance_report: Annotated[Text | None, Shown("Running", "FILE")] = Field(
        default=None, description="HTML file that gets Dask's report of what the workers did when."
    )
    unit_size: Annotated[ByteSize, Field(gt=0), Shown("Running", "SIZE")] = Field(
        default=ByteSize(64 * 2**20),
        description="Decoded input bytes of a work unit, never less than a row group.",
        examples=["64MiB", "200MB"],
    )

    @field_validator("rename")
    @classmethod
    def _refuse_contradictions(cls, pairs: tuple[str, ...]) -> tuple[str, ...]:
        """The last of them would win in silence."""
        for part, is_given in enumerate(("is renamed twice", "is the new name of two columns")):
            known: dict[str, str] = {}
            for pair in pairs:
                name = pair.split("=", 1)[part]
                if name in known:
                    told = {"name": name, "is_given": is_given, "first": known[name], "second": pair}
                    raise PydanticCustomError(
                        CONTRADICTION, "`{name}` {is_given}: {first} and {second}", told
                    )
                known[name] = pair
        return pairs

    @field_validator("adapt")
    @classmethod
    def _refuse_ranges_of_nothing(cls, adapt: str | None) -> str | None:
        if adapt is not None:
            least, most = map(int, adapt.split(":"))
            if most < max(least, 1):
                raise ValueError("the most is less than the least")
        return adapt

    @field_validator("lookback")
    @classmethod
    def _refuse_spans_before_nothing(cls, lookback: str | None, info: ValidationInfo) -> str | None:
        if lookback is not None and not any(info.data.get(name) for name in ("since", "until", "as_of")):
            raise PydanticCustomError(
                CONTRADICTION, "it is before nothing: no since, until or as_of is given"
            )
        return lookback

    @field_validator("until")
    @classmethod
    def _refuse_empty_spans(cls, until: datetime | None, info: ValidationInfo) -> datetime | None:
        since = info.data.get("since")
        if until is not None and since is not None and until <= since:
            raise PydanticCustomError(
                CONTRADICTION,
                "no time is before it and not before since, {since}",
                {"since": since.isoformat()},
            )
        return until

    @property
    def runs_elsewhere(self) -> bool:
        """Whether workers are on other machines than this one."""
        return bool(self.scheduler or self.cluster)

    @property
    def span(self) -> tuple[datetime | None, datetime | None]:
        """From when on and before when input files are read; (``None``, ``None``) is all of them."""
        if self.lookback is None:
            return self.since, self.until
        begin = self.since or self.until or self.as_of
        return (begin - as_span(self.lookback) if begin else None), self.until

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds of the routing policy, as the policy takes them."""
        return Thresholds(
            min_confidence=self.min_confidence,
            min_margin=self.min_margin,
            max_context_tokens=self.max_context_tokens,
            high_stakes_lanes=self.high_stakes_lane,
        )


SETTINGS = names_of(RunSettings)
