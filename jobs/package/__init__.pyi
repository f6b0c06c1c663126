# The public names, for type checkers and editors. Written by `make stubs`: change a function or a setting, not this.

from collections.abc import Mapping, Sequence
from datetime import date
from os import PathLike
from typing import Any, Literal

from lvm_batch.errors import LvmBatchError as LvmBatchError
from lvm_batch.io.errors import DataError as DataError
from lvm_batch.io.output.readers import predictions_dataset as predictions_dataset
from lvm_batch.io.output.readers import read_predictions as read_predictions
from lvm_batch.io.vectors.stored import decode_predictions as decode_predictions
from lvm_batch.jobs.errors import GateFailed as GateFailed
from lvm_batch.jobs.errors import JobError as JobError
from lvm_batch.jobs.errors import SettingsError as SettingsError
from lvm_batch.jobs.errors import TryAgain as TryAgain
from lvm_batch.jobs.errors import UnitsFailed as UnitsFailed
from lvm_batch.jobs.prediction.results.summary import Summary as Summary
from lvm_batch.jobs.python.results import BankResult as BankResult
from lvm_batch.jobs.python.results import PlanResult as PlanResult
from lvm_batch.jobs.python.results import Result as Result
from lvm_batch.jobs.python.results import RunResult as RunResult
from lvm_batch.jobs.python.results import TrainResult as TrainResult
from lvm_batch.lvm.errors import ModelError as ModelError

__version__: str

def run(
    dataset: str | PathLike[str] | Sequence[str | PathLike[str]] | None = None,
    *,
    output: str | PathLike[str] | None = None,
    model: str | PathLike[str] | None = None,
    fallback: str | PathLike[str] | None = None,
    bank: str | PathLike[str] | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] | None = None,
    workers: int | None = None,
    columns: str | Sequence[str] | None = None,
    drop: str | Sequence[str] | None = None,
    no_prediction: bool | None = None,
    limit: int | None = None,
    register: str | Sequence[str] | None = None,
    layout: Literal["auto", "windows", "sequences"] | None = None,
    pad: Literal["repeat", "zero", "reject"] | None = None,
    on_bad_file: Literal["fail", "skip"] | None = None,
    max_bad_rows: float | None = None,
    output_dtype: Literal["float32", "float16", "int8", "binary"] | None = None,
    rename: str | Sequence[str] | None = None,
    neighbours: int | None = None,
    as_of: str | date | None = None,
    since: str | date | None = None,
    until: str | date | None = None,
    lookback: str | None = None,
    time_column: str | None = None,
    reprocess: Literal["missing", "failed", "all"] | None = None,
    release: str | PathLike[str] | None = None,
    models_dir: str | PathLike[str] | None = None,
    fallback_device: Literal["cpu", "cuda", "mps"] | None = None,
    precision: Literal["fp32", "tf32", "bf16", "fp16", "int8"] | None = None,
    own_context: Literal["drop", "keep"] | None = None,
    min_confidence: float | None = None,
    min_margin: float | None = None,
    max_context_tokens: int | None = None,
    high_stakes_lane: str | Sequence[str] | None = None,
    router: str | PathLike[str] | None = None,
    max_fallback_rate: float | None = None,
    fallback_policy: Literal["warn", "cap", "fail"] | None = None,
    max_fallback_loss: float | None = None,
    shadow_rate: float | None = None,
    unit_timeout: float | None = None,
    memory_limit: int | str | None = None,
    part: str | None = None,
    finish: bool | None = None,
    scheduler: str | None = None,
    cluster: Literal["slurm", "kubernetes", "ssh"] | None = None,
    adapt: str | None = None,
    wait_for_workers: float | None = None,
    slurm: Mapping[str, Any] | None = None,
    kubernetes: Mapping[str, Any] | None = None,
    ssh: Mapping[str, Any] | None = None,
    unit_size: int | str | None = None,
    history: str | PathLike[str] | None = None,
    openlineage: str | None = None,
    opentelemetry: str | None = None,
    ping_url: str | None = None,
    metrics_file: str | PathLike[str] | None = None,
    dashboard: str | None = None,
    performance_report: str | PathLike[str] | None = None,
    context_column: str | None = None,
    vector_column: str | None = None,
    target_column: str | None = None,
    lane_column: str | None = None,
    context_tokens_column: str | None = None,
    tokens_column: str | None = None,
    split_column: str | None = None,
    article_column: str | None = None,
    position_column: str | None = None,
    config: str | PathLike[str] | None = None,
    progress: bool = True,
) -> RunResult:
    """Predict the next vector of every row of a dataset, and write the predictions to ``output``.

    The same call resumes a run that was interrupted, and finds one that is done. Returns the summary. Raises
    ``LvmBatchError``; for ``UnitsFailed`` and ``GateFailed`` its ``result`` has the summary, and the output stays.

    Parameters
    ----------
    dataset
        Parquet files, folders, globs or URLs to read.
    output
        Folder or URL to write to; the same job resumes there.
    model
        Primary checkpoint: a path, or a name under the models folder.
    fallback
        Checkpoint for escalated rows.
    bank
        Bank of vectors for confidence and margin.
    device
        Where models run. Default: auto
    workers
        Worker processes; unless given, as many as the machine has room for.
    columns
        Carry only this column of the input to the output; repeatable. Unless given, all but the vectors
        are carried. Columns that a job adds are always written.
    drop
        Column of the input to leave out of the output; repeatable.
    no_prediction
        Leave out the column prediction: cosine, route and the other columns make much smaller files.
        Default: False
    limit
        Read only the first rows of the dataset, files in order, for a first look. Their predictions are
        those of a whole run.
    register
        Table that gets the files in one commit once the job is a success: `delta` makes OUT a Delta
        Lake table, iceberg:CATALOG.NAMESPACE.TABLE is in a catalog that pyiceberg's configuration
        knows; repeatable.
    layout
        What a row is: a whole context, or one vector of an article. Default: auto
    pad
        How to fill a context that has too few vectors. By default windows repeat their first vector,
        and the first rows of an article in sequences get no prediction.
    on_bad_file
        Whether an unreadable file stops the job before it starts. Default: fail
    max_bad_rows
        Fraction of bad_input rows above which the job fails. Default: 0.01
    output_dtype
        How predictions are stored: as floats, as codes of 8 bits, or as the signs of their components.
        Default: float32
    rename
        New name of a carried column; repeatable.
    neighbours
        Nearest vectors of --bank to write for each prediction, as ids and cosines; the row's own
        context is left out. Default: 0
    as_of
        Time that the run is for. It fills in {date}, {date_nodash}, {year}, {month}, {day} and {hour}
        in every text setting, also as {date-1d} or {hour+2h}; `now` is the present.
    since
        Read input files from this time on. A file's time is that of its folder, such as
        date=2026-11-22, or else when it was written. A time without an offset is UTC.
    until
        Read input files from before this time.
    lookback
        Also read files from this long before --since, for those that came late; without --since, it
        counts back from --until or --as-of.
    time_column
        Folder column that tells a file's time, or `modified`. Unless given: date, dt, ds or datetime,
        or year, month and day, with hour; else when the file was written.
    reprocess
        What is predicted of the files that are read: what is missing; besides, files that have changed
        and units that had bad rows; or all. Default: missing
    release
        Folder written by `models release`: it sets the models, the router and the thresholds, and says
        which bank it needs.
    models_dir
        Folder of named models, with their roles beside it. Default: artifacts/lvm/models
    fallback_device
        Where the fallback runs; unless given, on the primary model's device, but on the CPU if that is
        mps.
    precision
        Number format that models compute in. All but fp32 are slightly less exact and mostly faster:
        int8 needs a CPU, tf32 and fp16 need CUDA, bf16 runs on both. Default: fp32
    own_context
        Whether a row's own context vectors in the bank count as neighbours of its prediction: drop
        leaves them out of confidence and margin. Default: drop
    min_confidence
        A row with a lower confidence is escalated. Default: 0.7
    min_margin
        A row with a lower margin is escalated. Default: 0.02
    max_context_tokens
        A row with more context tokens is escalated. Default: 384
    high_stakes_lane
        A row of this lane is escalated; repeatable. Default: sci-fact, math-derivation, med-guideline,
        policy/procedure
    router
        Router fitted by evaluate --calibrate: it also escalates rows for which it expects the fallback
        to gain enough.
    max_fallback_rate
        Fraction of rows that may be escalated. Default: 0.2
    fallback_policy
        What to do above that fraction. Default: warn
    max_fallback_loss
        Mean cosine that escalated rows may lose to the fallback before the job fails. Needs targets.
    shadow_rate
        Fraction of rows that both models answer, to compare them. Default: 0.01
    unit_timeout
        Time after which a work unit's worker is considered lost. Default: 3600
    memory_limit
        Memory that each worker may use; unless given, its share of the machine. A job that would need
        more is refused before it starts.
    part
        Compute only this part of the job, in processes of this machine, beside other parts: part 3 of
        16, counted from 1. When all have ended, --finish.
    finish
        Compute nothing: check that the parts of the job have computed all of it, and end it as a run
        does. Default: False
    scheduler
        Dask scheduler to run on, such as tcp://host:8786, instead of local workers; tls://host:8786
        takes its certificates from Dask's own settings, distributed.comm.tls.
    cluster
        Where to start workers for this run alone, in place of local ones. The table of that name in a
        --config file says how.
    adapt
        Fewest and most workers of --cluster; their number follows the remaining work.
    wait_for_workers
        Time to wait for a first worker, and for a new one if all are gone; unless given, 30 with
        --scheduler and 600 with --cluster.
    slurm
        Arguments of dask-jobqueue's SLURMCluster, for --cluster slurm: cores, memory, queue and so on.
    kubernetes
        Arguments of dask-kubernetes' KubeCluster, for --cluster kubernetes: image, resources, env and
        so on.
    ssh
        Arguments of Dask's SSHCluster, for --cluster ssh: hosts, the first for the scheduler, and so
        on.
    unit_size
        Decoded input bytes of a work unit, never less than a row group. Default: 64.0MiB
    history
        Folder or URL for a small file about each run, which monitor reads.
    openlineage
        Name of this job in OpenLineage, to which the run reports what it reads and writes. Set the
        address in OPENLINEAGE_URL or openlineage.yml.
    opentelemetry
        Name of this service in OpenTelemetry, to which the run sends a span for itself and one for each
        unit. Set the address in OTEL_EXPORTER_OTLP_ENDPOINT.
    ping_url
        URL to ping when the run starts, succeeds or fails, as healthchecks.io expects. Anyone with the
        URL can ping, so set it as LVM_BATCH_PING_URL to keep it out of process lists. It is never
        printed.
    metrics_file
        File for node_exporter's textfile collector, *.prom, with the result of the run.
    dashboard
        Address of Dask's dashboard while local workers compute; :0 takes any free port.
    performance_report
        HTML file for Dask's performance report.
    context_column
        Five vectors, in windows. Default: context
    vector_column
        One vector, in sequences. Default: vector
    target_column
        The true next vector. Default: target
    lane_column
        The row's lane. Default: lane
    context_tokens_column
        Number of tokens in the context. Default: context_tokens
    tokens_column
        Number of tokens in the row, in sequences. Default: tokens
    split_column
        in_dist or ood. Default: split
    article_column
        The row's article, in sequences; @file: each file is one article. Default: article_id
    position_column
        Position in the article, in sequences; @row: rows are already in reading order. Default:
        position
    config
        TOML file of settings; arguments and LVM_BATCH_* variables override it.
    progress
        Whether notes and progress are shown on stderr, or in the notebook. Default: True
    """

def plan(
    dataset: str | PathLike[str] | Sequence[str | PathLike[str]] | None = None,
    *,
    output: str | PathLike[str] | None = None,
    model: str | PathLike[str] | None = None,
    fallback: str | PathLike[str] | None = None,
    bank: str | PathLike[str] | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] | None = None,
    workers: int | None = None,
    columns: str | Sequence[str] | None = None,
    drop: str | Sequence[str] | None = None,
    no_prediction: bool | None = None,
    limit: int | None = None,
    register: str | Sequence[str] | None = None,
    layout: Literal["auto", "windows", "sequences"] | None = None,
    pad: Literal["repeat", "zero", "reject"] | None = None,
    on_bad_file: Literal["fail", "skip"] | None = None,
    max_bad_rows: float | None = None,
    output_dtype: Literal["float32", "float16", "int8", "binary"] | None = None,
    rename: str | Sequence[str] | None = None,
    neighbours: int | None = None,
    as_of: str | date | None = None,
    since: str | date | None = None,
    until: str | date | None = None,
    lookback: str | None = None,
    time_column: str | None = None,
    reprocess: Literal["missing", "failed", "all"] | None = None,
    release: str | PathLike[str] | None = None,
    models_dir: str | PathLike[str] | None = None,
    fallback_device: Literal["cpu", "cuda", "mps"] | None = None,
    precision: Literal["fp32", "tf32", "bf16", "fp16", "int8"] | None = None,
    own_context: Literal["drop", "keep"] | None = None,
    min_confidence: float | None = None,
    min_margin: float | None = None,
    max_context_tokens: int | None = None,
    high_stakes_lane: str | Sequence[str] | None = None,
    router: str | PathLike[str] | None = None,
    max_fallback_rate: float | None = None,
    fallback_policy: Literal["warn", "cap", "fail"] | None = None,
    max_fallback_loss: float | None = None,
    shadow_rate: float | None = None,
    unit_timeout: float | None = None,
    memory_limit: int | str | None = None,
    part: str | None = None,
    finish: bool | None = None,
    scheduler: str | None = None,
    cluster: Literal["slurm", "kubernetes", "ssh"] | None = None,
    adapt: str | None = None,
    wait_for_workers: float | None = None,
    slurm: Mapping[str, Any] | None = None,
    kubernetes: Mapping[str, Any] | None = None,
    ssh: Mapping[str, Any] | None = None,
    unit_size: int | str | None = None,
    history: str | PathLike[str] | None = None,
    openlineage: str | None = None,
    opentelemetry: str | None = None,
    ping_url: str | None = None,
    metrics_file: str | PathLike[str] | None = None,
    dashboard: str | None = None,
    performance_report: str | PathLike[str] | None = None,
    context_column: str | None = None,
    vector_column: str | None = None,
    target_column: str | None = None,
    lane_column: str | None = None,
    context_tokens_column: str | None = None,
    tokens_column: str | None = None,
    split_column: str | None = None,
    article_column: str | None = None,
    position_column: str | None = None,
    config: str | PathLike[str] | None = None,
    progress: bool = True,
) -> PlanResult:
    """Check the inputs, models and settings of a run, and say how it would be cut into work units.

    Writes nothing. An output or a limit of memory that a run would refuse is the result's ``refusal``; other problems
    are raised as ``LvmBatchError``, as a run raises them.

    Parameters
    ----------
    dataset
        Parquet files, folders, globs or URLs to read.
    output
        Folder or URL to write to; the same job resumes there.
    model
        Primary checkpoint: a path, or a name under the models folder.
    fallback
        Checkpoint for escalated rows.
    bank
        Bank of vectors for confidence and margin.
    device
        Where models run. Default: auto
    workers
        Worker processes; unless given, as many as the machine has room for.
    columns
        Carry only this column of the input to the output; repeatable. Unless given, all but the vectors
        are carried. Columns that a job adds are always written.
    drop
        Column of the input to leave out of the output; repeatable.
    no_prediction
        Leave out the column prediction: cosine, route and the other columns make much smaller files.
        Default: False
    limit
        Read only the first rows of the dataset, files in order, for a first look. Their predictions are
        those of a whole run.
    register
        Table that gets the files in one commit once the job is a success: `delta` makes OUT a Delta
        Lake table, iceberg:CATALOG.NAMESPACE.TABLE is in a catalog that pyiceberg's configuration
        knows; repeatable.
    layout
        What a row is: a whole context, or one vector of an article. Default: auto
    pad
        How to fill a context that has too few vectors. By default windows repeat their first vector,
        and the first rows of an article in sequences get no prediction.
    on_bad_file
        Whether an unreadable file stops the job before it starts. Default: fail
    max_bad_rows
        Fraction of bad_input rows above which the job fails. Default: 0.01
    output_dtype
        How predictions are stored: as floats, as codes of 8 bits, or as the signs of their components.
        Default: float32
    rename
        New name of a carried column; repeatable.
    neighbours
        Nearest vectors of --bank to write for each prediction, as ids and cosines; the row's own
        context is left out. Default: 0
    as_of
        Time that the run is for. It fills in {date}, {date_nodash}, {year}, {month}, {day} and {hour}
        in every text setting, also as {date-1d} or {hour+2h}; `now` is the present.
    since
        Read input files from this time on. A file's time is that of its folder, such as
        date=2026-11-22, or else when it was written. A time without an offset is UTC.
    until
        Read input files from before this time.
    lookback
        Also read files from this long before --since, for those that came late; without --since, it
        counts back from --until or --as-of.
    time_column
        Folder column that tells a file's time, or `modified`. Unless given: date, dt, ds or datetime,
        or year, month and day, with hour; else when the file was written.
    reprocess
        What is predicted of the files that are read: what is missing; besides, files that have changed
        and units that had bad rows; or all. Default: missing
    release
        Folder written by `models release`: it sets the models, the router and the thresholds, and says
        which bank it needs.
    models_dir
        Folder of named models, with their roles beside it. Default: artifacts/lvm/models
    fallback_device
        Where the fallback runs; unless given, on the primary model's device, but on the CPU if that is
        mps.
    precision
        Number format that models compute in. All but fp32 are slightly less exact and mostly faster:
        int8 needs a CPU, tf32 and fp16 need CUDA, bf16 runs on both. Default: fp32
    own_context
        Whether a row's own context vectors in the bank count as neighbours of its prediction: drop
        leaves them out of confidence and margin. Default: drop
    min_confidence
        A row with a lower confidence is escalated. Default: 0.7
    min_margin
        A row with a lower margin is escalated. Default: 0.02
    max_context_tokens
        A row with more context tokens is escalated. Default: 384
    high_stakes_lane
        A row of this lane is escalated; repeatable. Default: sci-fact, math-derivation, med-guideline,
        policy/procedure
    router
        Router fitted by evaluate --calibrate: it also escalates rows for which it expects the fallback
        to gain enough.
    max_fallback_rate
        Fraction of rows that may be escalated. Default: 0.2
    fallback_policy
        What to do above that fraction. Default: warn
    max_fallback_loss
        Mean cosine that escalated rows may lose to the fallback before the job fails. Needs targets.
    shadow_rate
        Fraction of rows that both models answer, to compare them. Default: 0.01
    unit_timeout
        Time after which a work unit's worker is considered lost. Default: 3600
    memory_limit
        Memory that each worker may use; unless given, its share of the machine. A job that would need
        more is refused before it starts.
    part
        Compute only this part of the job, in processes of this machine, beside other parts: part 3 of
        16, counted from 1. When all have ended, --finish.
    finish
        Compute nothing: check that the parts of the job have computed all of it, and end it as a run
        does. Default: False
    scheduler
        Dask scheduler to run on, such as tcp://host:8786, instead of local workers; tls://host:8786
        takes its certificates from Dask's own settings, distributed.comm.tls.
    cluster
        Where to start workers for this run alone, in place of local ones. The table of that name in a
        --config file says how.
    adapt
        Fewest and most workers of --cluster; their number follows the remaining work.
    wait_for_workers
        Time to wait for a first worker, and for a new one if all are gone; unless given, 30 with
        --scheduler and 600 with --cluster.
    slurm
        Arguments of dask-jobqueue's SLURMCluster, for --cluster slurm: cores, memory, queue and so on.
    kubernetes
        Arguments of dask-kubernetes' KubeCluster, for --cluster kubernetes: image, resources, env and
        so on.
    ssh
        Arguments of Dask's SSHCluster, for --cluster ssh: hosts, the first for the scheduler, and so
        on.
    unit_size
        Decoded input bytes of a work unit, never less than a row group. Default: 64.0MiB
    history
        Folder or URL for a small file about each run, which monitor reads.
    openlineage
        Name of this job in OpenLineage, to which the run reports what it reads and writes. Set the
        address in OPENLINEAGE_URL or openlineage.yml.
    opentelemetry
        Name of this service in OpenTelemetry, to which the run sends a span for itself and one for each
        unit. Set the address in OTEL_EXPORTER_OTLP_ENDPOINT.
    ping_url
        URL to ping when the run starts, succeeds or fails, as healthchecks.io expects. Anyone with the
        URL can ping, so set it as LVM_BATCH_PING_URL to keep it out of process lists. It is never
        printed.
    metrics_file
        File for node_exporter's textfile collector, *.prom, with the result of the run.
    dashboard
        Address of Dask's dashboard while local workers compute; :0 takes any free port.
    performance_report
        HTML file for Dask's performance report.
    context_column
        Five vectors, in windows. Default: context
    vector_column
        One vector, in sequences. Default: vector
    target_column
        The true next vector. Default: target
    lane_column
        The row's lane. Default: lane
    context_tokens_column
        Number of tokens in the context. Default: context_tokens
    tokens_column
        Number of tokens in the row, in sequences. Default: tokens
    split_column
        in_dist or ood. Default: split
    article_column
        The row's article, in sequences; @file: each file is one article. Default: article_id
    position_column
        Position in the article, in sequences; @row: rows are already in reading order. Default:
        position
    config
        TOML file of settings; arguments and LVM_BATCH_* variables override it.
    progress
        Whether notes and progress are shown on stderr, or in the notebook. Default: True
    """

def inspect(
    dataset: str | PathLike[str] | Sequence[str | PathLike[str]] | None = None,
    *,
    layout: Literal["auto", "windows", "sequences"] | None = None,
    context_column: str | None = None,
    vector_column: str | None = None,
    target_column: str | None = None,
    lane_column: str | None = None,
    context_tokens_column: str | None = None,
    tokens_column: str | None = None,
    split_column: str | None = None,
    article_column: str | None = None,
    position_column: str | None = None,
    pad: Literal["repeat", "zero", "reject"] | None = None,
    unit_size: int | str | None = None,
    max_bad_rows: float | None = None,
    model: str | PathLike[str] | None = None,
    fallback: str | PathLike[str] | None = None,
    bank: str | PathLike[str] | None = None,
    models_dir: str | PathLike[str] | None = None,
    config: str | PathLike[str] | None = None,
    progress: bool = True,
) -> Result:
    """Say what a dataset holds, what a run would make of it, and which commands come next.

    What a run would refuse is among the result's ``problems``. Raises ``LvmBatchError`` if there is no file to look at.

    Parameters
    ----------
    dataset
        Parquet files, folders, globs or URLs to read.
    layout
        What a row is: a whole context, or one vector of an article. Default: auto
    context_column
        Five vectors, in windows. Default: context
    vector_column
        One vector, in sequences. Default: vector
    target_column
        The true next vector. Default: target
    lane_column
        The row's lane. Default: lane
    context_tokens_column
        Number of tokens in the context. Default: context_tokens
    tokens_column
        Number of tokens in the row, in sequences. Default: tokens
    split_column
        in_dist or ood. Default: split
    article_column
        The row's article, in sequences; @file: each file is one article. Default: article_id
    position_column
        Position in the article, in sequences; @row: rows are already in reading order. Default:
        position
    pad
        How to fill a context that has too few vectors. By default windows repeat their first vector,
        and the first rows of an article in sequences get no prediction.
    unit_size
        Decoded input bytes of a work unit, never less than a row group. Default: 64.0MiB
    max_bad_rows
        Fraction of bad_input rows above which the job fails. Default: 0.01
    model
        Primary checkpoint: a path, or a name under the models folder.
    fallback
        Checkpoint for escalated rows.
    bank
        Bank of vectors for confidence and margin.
    models_dir
        Folder of named models, with their roles beside it. Default: artifacts/lvm/models
    config
        TOML file of settings; arguments and LVM_BATCH_* variables override it.
    progress
        Whether notes and progress are shown on stderr, or in the notebook. Default: True
    """

def train(
    dataset: str | PathLike[str] | Sequence[str | PathLike[str]] | None = None,
    *,
    output: str | PathLike[str] | None = None,
    arch: Literal["amn", "amn-mixer", "gru", "lstm", "transformer", "lstm-v0", "transformer-v0"]
    | None = None,
    seed: int | None = None,
    epochs: int | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] | None = None,
    layout: Literal["auto", "windows", "sequences"] | None = None,
    recipe: Literal["unseen", "v0", "v1"] | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    weight_decay: float | None = None,
    schedule: Literal["cosine", "plateau", "constant"] | None = None,
    patience: int | None = None,
    validation_share: float | None = None,
    context_length: int | None = None,
    input_norm: Literal["as_is", "unit"] | None = None,
    context_column: str | None = None,
    vector_column: str | None = None,
    target_column: str | None = None,
    lane_column: str | None = None,
    context_tokens_column: str | None = None,
    tokens_column: str | None = None,
    split_column: str | None = None,
    article_column: str | None = None,
    position_column: str | None = None,
    config: str | PathLike[str] | None = None,
    progress: bool = True,
) -> TrainResult:
    """Train a model on a dataset, judge it on articles that are kept apart, and write it with its card to ``output``.

    The same call resumes a training that was interrupted, and finds one that is done. Raises ``LvmBatchError``; if the
    loss became NaN, its ``result`` has the best model before that.

    Parameters
    ----------
    dataset
        Parquet files, folders, globs or URLs to read.
    output
        Folder to write the model to; the same training resumes there.
    arch
        Architecture: amn, amn-mixer, gru, lstm or transformer; lstm-v0 and transformer-v0 have the
        sizes that the v0 cards print.
    seed
        Random seed for the split, the initial weights and the order of windows. Default: 0
    epochs
        Epochs to train for. Default: the recipe's.
    device
        Where the model is trained. Default: auto
    layout
        What a row is: a whole context, or one vector of an article. Default: auto
    recipe
        How to train: for unseen articles, or as one of the cards says. Default: unseen
    batch_size
        Windows in a batch. Default: the recipe's.
    learning_rate
        Highest learning rate of AdamW. Default: the recipe's.
    weight_decay
        Weight decay of AdamW. Default: the recipe's.
    schedule
        How the rate falls: along a cosine, by half when the validation loss stops falling, or not.
        Default: the recipe's.
    patience
        Stop training after this many epochs without a better validation cosine. Default: the recipe's.
    validation_share
        Share of the articles to hold out for validation. Default: 0.1
    context_length
        Vectors in a context. Unless given, as in the type of the data's contexts, else 5.
    input_norm
        Whether to scale the vectors of contexts to unit norm. The checkpoint records it, and every use
        of the model does the same. Default: as_is
    context_column
        Five vectors, in windows. Default: context
    vector_column
        One vector, in sequences. Default: vector
    target_column
        The true next vector. Default: target
    lane_column
        The row's lane. Default: lane
    context_tokens_column
        Number of tokens in the context. Default: context_tokens
    tokens_column
        Number of tokens in the row, in sequences. Default: tokens
    split_column
        in_dist or ood. Default: split
    article_column
        The row's article, in sequences; @file: each file is one article. Default: article_id
    position_column
        Position in the article, in sequences; @row: rows are already in reading order. Default:
        position
    config
        TOML file of settings; arguments and LVM_BATCH_* variables override it.
    progress
        Whether notes and progress are shown on stderr, or in the notebook. Default: True
    """

def evaluate(
    dataset: str | PathLike[str] | Sequence[str | PathLike[str]] | None = None,
    *,
    output: str | PathLike[str] | None = None,
    model: str | PathLike[str] | Sequence[str | PathLike[str]] | None = None,
    bank: str | PathLike[str] | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] | None = None,
    layout: Literal["auto", "windows", "sequences"] | None = None,
    fallback: str | PathLike[str] | None = None,
    models_dir: str | PathLike[str] | None = None,
    own_context: Literal["drop", "keep"] | None = None,
    context_length: int | None = None,
    budget: float | None = None,
    resamples: int | None = None,
    seed: int | None = None,
    context_column: str | None = None,
    vector_column: str | None = None,
    target_column: str | None = None,
    lane_column: str | None = None,
    context_tokens_column: str | None = None,
    tokens_column: str | None = None,
    split_column: str | None = None,
    article_column: str | None = None,
    position_column: str | None = None,
    calibrate: bool = False,
    config: str | PathLike[str] | None = None,
    progress: bool = True,
) -> Result:
    """Judge models by the true next vectors of a dataset, beside baselines that need no model.

    Raises ``LvmBatchError``.

    Parameters
    ----------
    dataset
        Parquet files, folders, globs or URLs to read.
    output
        Folder for the results as JSON, the table as Markdown, and the plots.
    model
        Checkpoint to evaluate: a path, or a name under the models folder; repeatable.
    bank
        Bank of vectors for retrieval, and for confidence and margin.
    device
        Where models run. Default: auto
    layout
        What a row is: a whole context, or one vector of an article. Default: auto
    fallback
        With --calibrate: the checkpoint for escalated rows.
    models_dir
        Folder of named models, with their roles beside it. Default: artifacts/lvm/models
    own_context
        Whether a row's own context vectors in the bank count in retrieval, confidence and margin: drop
        leaves them out. Default: drop
    context_length
        Vectors in a context. Unless given, as many as the models were trained on.
    budget
        With --calibrate: the fraction of rows that may be escalated. Default: 0.2
    resamples
        Bootstrap samples for confidence intervals. Default: 1000
    seed
        Random seed of the bootstrap. Default: 0
    context_column
        Five vectors, in windows. Default: context
    vector_column
        One vector, in sequences. Default: vector
    target_column
        The true next vector. Default: target
    lane_column
        The row's lane. Default: lane
    context_tokens_column
        Number of tokens in the context. Default: context_tokens
    tokens_column
        Number of tokens in the row, in sequences. Default: tokens
    split_column
        in_dist or ood. Default: split
    article_column
        The row's article, in sequences; @file: each file is one article. Default: article_id
    position_column
        Position in the article, in sequences; @row: rows are already in reading order. Default:
        position
    calibrate
        Whether to propose thresholds and fit a router too, under `calibration`; needs a bank. Default:
        False
    config
        TOML file of settings; arguments and LVM_BATCH_* variables override it.
    progress
        Whether notes and progress are shown on stderr, or in the notebook. Default: True
    """

def build_bank(
    vectors: str | PathLike[str] | Sequence[str | PathLike[str]],
    *,
    output: str | PathLike[str],
    vector_column: str | None = None,
    id_column: str | None = None,
    article_column: str | None = None,
    position_column: str | None = None,
    index: Literal["exact", "faiss"] = "exact",
    progress: bool = True,
) -> BankResult:
    """Make unit vectors of Parquet files, keep their ids, and write a bank that ``run`` takes.

    ``vectors`` are files, folders, globs or URLs, ``output`` is the folder to make. ``vector_column`` is ``vector``, or
    else the only column that can be it; ``id_column`` is ``id`` if there is one; ``article_column`` and
    ``position_column`` are those that a run would find, "@none" for none. ``index`` is "exact", or "faiss" for a
    large bank. Raises ``LvmBatchError``.
    """

def read_summary(
    output: str | PathLike[str],
) -> Summary:
    """Return the summary of the last run that came to its end in an output, a folder or a URL.

    Raises ``LvmBatchError`` if there is none, or if it is damaged.
    """
