"""The demo: trains models, builds a bank and runs the job on the vectors that ship with the package.

The rule: the demo does what a user would do with the same commands, and prints them. It makes nothing twice.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lvm_batch.io.bank.bank import build_bank
from lvm_batch.io.dataset.files import find_files
from lvm_batch.io.dataset.reading import open_unit
from lvm_batch.io.dataset.units import DatasetFormat, Footer, read_footers, whole_unit
from lvm_batch.io.output.commit import REPORT
from lvm_batch.io.output.row_search import RowQuery
from lvm_batch.io.schema import OK
from lvm_batch.io.storage.locations import locate
from lvm_batch.jobs.observed_run import run_observed
from lvm_batch.jobs.output_folder import make_output_folder
from lvm_batch.jobs.prediction.results.shown_rows import show_rows
from lvm_batch.jobs.prediction.results.shown_table import RowsTable
from lvm_batch.jobs.registry.candidate import VerificationRequest
from lvm_batch.jobs.registry.promotion import Signature, promote
from lvm_batch.jobs.settings.run import RunSettings
from lvm_batch.jobs.settings.sources import flag_of, resolve_settings
from lvm_batch.jobs.settings.train import TrainSettings
from lvm_batch.jobs.training.train import train

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from numpy.typing import NDArray

    from lvm_batch.jobs.console.console import Console
    from lvm_batch.jobs.prediction.observers import RunOutcome

SEED = 4

# The cards' thresholds are for their encoder. These escalate about one row in seven of the sample.
THRESHOLDS = {"min_confidence": 0.73, "min_margin": 0.001}

N_SHOWN = 5
N_SHARDS = 4
N_HELD_OUT = 4
"""The last articles of the sample; no model is trained on them."""

ROLES: dict[Literal["amn", "gru"], str] = {"amn": "production_model", "gru": "fallback_model"}

EPOCHS = {"gru": 2}  # its recipe for so few windows would take a minute or two

# The sample has no lanes, so its articles take turns: one in eight is of high stakes.
LANES = ("history", "sport", "music", "sci-fact", "places", "weather", "film", "biography")


@dataclass(frozen=True, slots=True)
class Windows:
    """All windows of the sample that have a target: contexts (n, 5, 768) and targets (n, 768), float32."""

    contexts: NDArray[np.float32]
    targets: NDArray[np.float32]
    article: NDArray[np.int64]
    position: NDArray[np.int64]
    tokens: NDArray[np.float64]

    @property
    def held_out(self) -> NDArray[np.bool_]:
        """Which windows are from articles that no model is trained on, bool (n,)."""
        return np.isin(self.article, np.unique(self.article)[-N_HELD_OUT:])


def make_inputs(root: Path, console: Console) -> None:
    """Make two trained models with their roles, a bank, and a dataset of windows in shards, all below ``root``.

    Raises ``OutputError`` if the folder cannot be made.
    """
    make_output_folder(str(root), what="the demo")
    with as_file(sample_file()) as sample:
        write_shards(root / "windows", read_windows(sample))
        train_models(root, console)
        if not (root / "bank/bank.json").exists():  # written last: an interrupted build starts again
            _show_command(console, "bank", "build", sample, "--output", root / "bank")
            build_bank(find_files([str(sample)]), str(root / "bank"))


def predict(root: Path, console: Console) -> RunOutcome:
    """Run the job over the shards, and print the command for it."""
    dataset = str(root / "windows")
    flags = _run_settings(root)
    _show_command(console, "run", dataset, *_run_flags(root))
    settings = resolve_settings(RunSettings, {"dataset": [dataset], **flags}, {}).settings
    return run_observed(settings, console=console)


def _run_settings(root: Path) -> dict[str, str | float]:
    places = {"output": "predictions", "models_dir": "artifacts/lvm/models", "bank": "bank"}
    return {**{name: str(root / place) for name, place in places.items()}, **THRESHOLDS}


def _run_flags(root: Path) -> list[str]:
    return [text for name, value in _run_settings(root).items() for text in (flag_of(name), str(value))]


def sample_file() -> Traversable:
    """Return the Parquet file of sentence vectors that ships with the package."""
    return files("lvm_batch.io.sample") / "wikipedia_sample.parquet"


def read_windows(path: Path) -> Windows:
    """Read every whole window with a target, as the job reads sequences."""
    dataset_format = DatasetFormat()
    ((_, footer),) = read_footers(find_files([str(path)]), dataset_format)
    if not isinstance(footer, Footer):
        raise footer
    unit = whole_unit(footer)
    with open_unit(unit, dataset_format, batch_rows=unit.n_rows) as rows:
        (batch,) = rows.batches
    assert batch.targets is not None  # noqa: S101 - sequences have targets
    assert batch.context_tokens is not None  # noqa: S101 - the sample has a column of tokens
    whole = (batch.status == OK) & np.isfinite(batch.targets[:, 0])
    return Windows(
        batch.contexts[whole],
        batch.targets[whole],
        batch.carried["article_id"].to_numpy()[whole],
        batch.carried["position"].to_numpy()[whole],
        batch.context_tokens[whole],
    )


def train_models(root: Path, console: Console) -> None:
    """Train AMN and GRU on the articles that are not held out, and give each its role."""
    models = root / "artifacts/lvm/models"
    for architecture, role in ROLES.items():
        settings = TrainSettings(
            dataset=(str(root / "windows"),),
            arch=architecture,
            output=str(models / architecture),
            seed=SEED,
            epochs=EPOCHS.get(architecture),
        )
        if not (models / architecture / "best_model.pt").exists():
            options = ["--arch", architecture, "--output", settings.output, "--seed", SEED]
            options += ["--epochs", settings.epochs] if settings.epochs else []
            _show_command(console, "train", root / "windows", *options)
        console.note(train(settings, console=console).text)
        if not (models.parent / role).exists():
            _show_command(console, "models", "promote", architecture, "--models-dir", models)
            request = VerificationRequest(
                models, role=role, dim=None, data=None, sample_rows=0, tolerance=0.0
            )
            console.note(promote(architecture, request, signature=Signature.now()).text())


def _show_command(console: Console, *command: object) -> None:
    """Print the command by which a user would do the next step."""
    console.note("$ " + shlex.join([_command_name(sys.argv[0], "lvm-batch"), *map(str, command)]))


def write_shards(folder: Path, windows: Windows) -> None:
    """Write the windows as a dataset of several files, with targets, lanes and token counts."""
    folder.mkdir(exist_ok=True)
    for number, rows in enumerate(np.array_split(np.arange(len(windows.article)), N_SHARDS)):
        path = folder / f"shard-{number}.parquet"
        if not path.exists():  # a rewritten file would be another input, and the job another job
            part = path.with_suffix(".part")
            pq.write_table(_table(windows, rows), part, compression="none", use_dictionary=["lane", "split"])
            part.replace(path)


def _table(windows: Windows, rows: NDArray[np.int64]) -> pa.Table:
    lanes = [LANES[article % len(LANES)] for article in windows.article[rows].tolist()]
    return pa.table(
        {
            "article_id": windows.article[rows],
            "position": windows.position[rows],
            "context": _binary(windows.contexts[rows]),
            "target": _binary(windows.targets[rows]),
            "lane": lanes,
            "context_tokens": windows.tokens[rows].astype(np.int64),
            "split": np.where(windows.held_out[rows], "ood", "in_dist"),
        }
    )


def _binary(vectors: NDArray[np.float32]) -> pa.Array:
    """Encode rows of float32 as fixed-size binary, the fastest encoding to read."""
    flat = np.ascontiguousarray(vectors.reshape(len(vectors), -1), dtype="<f4")
    width = flat.shape[1] * flat.itemsize
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(flat), [None, pa.py_buffer(flat)])


def first_rows(root: Path) -> RowsTable:
    """Return the first predictions as a table."""
    return RowsTable(show_rows(str(root / "predictions"), RowQuery(N_SHOWN)))


def next_steps(root: Path) -> str:
    """Return where the report is, what so few windows can show, and three commands to try."""
    predictions, command = root / "predictions", _command_name(sys.argv[0], "lvm-batch")
    flags = _run_flags(root)
    commands = {
        "the rows that were predicted worst": ("show", predictions, "--worst"),
        "what escalating more or fewer rows would gain": (
            *("evaluate", root / "windows", "--model", root / "artifacts/lvm/models/amn"),
            *("--fallback", root / "artifacts/lvm/models/gru", "--bank", root / "bank", "--calibrate"),
        ),
        "the same run again: it finds everything done": ("run", root / "windows", *flags),
    }
    lines = [
        f"\nThe report: {locate(str(predictions)).child(REPORT).text}",
        "\nSo few windows show that all parts work together and that a trained model beats the mean of its context;",
        "they are too few to tell which model is better, or how good yours will be.",
        "\nNext:",
    ]
    for what, words in commands.items():
        lines += [f"  # {what}", f"  {shlex.join([command, *map(str, words)])}"]
    return "\n".join(lines)


def _command_name(program: str, name: str) -> str:
    """Return how a user calls ``program`` from here: by ``name`` if the shell finds it so, else by its path."""
    path = Path(program).absolute()
    if shutil.which(name) == str(path) or not path.name.startswith(name):
        return name
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
