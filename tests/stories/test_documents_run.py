"""Every command and every block of Python that a document shows is run here, or says right before it why it is not.

Each document has a folder of its own with what it names; its blocks run there from top to bottom. Models are small and
almost untrained: what is checked is that a command works as it is shown.
"""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.command import called
from support.command_reference import PAGE as REFERENCE
from support.place import Place
from support.shown import Block, blocks_of, run_blocks, run_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

TOP = Path(__file__).parents[2]
DOCUMENTS = {
    str(path.relative_to(TOP)): blocks_of(path.read_text(encoding="utf-8"))
    for path in sorted({*TOP.glob("*.md"), *(TOP / "docs").glob("*.md"), *(TOP / "workflows").glob("*.md")})
    if path != REFERENCE
}
RUN_BY = {
    "docs/python.md": "tests/stories/test_python_docs.py",
    "docs/tables.md": "tests/stories/test_tables.py",
    "workflows/downstream.md": "tests/stories/test_recipes.py",
}
NOT_RUN = {"CONTRIBUTING.md": 3, "README.md": 2, "docs/gpus-and-clusters.md": 1, "docs/performance.md": 2} | {
    "docs/models.md": 1,
    "docs/serving.md": 1,
    "docs/tables.md": 1,
    "docs/your-data.md": 1,
    "workflows/README.md": 4,
}
"""How many blocks of a document are marked as not run: a further one is worth a thought."""


def for_every_night(place: Place) -> None:
    """Days of data, that of the document and yesterday's."""
    place.registry()
    place.banks("bank")
    for day in ("2026-11-21", f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"):
        place.windows(f"data/date={day}")


def for_gpus_and_clusters(place: Place) -> None:
    """Three units, of which other machines have computed the first two, as parts 1 and 2 of 16."""
    os.environ.pop(
        "LVM_BATCH_SCHEDULER"
    )  # a part has processes of its own; `used` puts back what was there before
    place.registry()
    for number in (1, 2, 3):
        place.windows(f"data/{number}")
    for number in (1, 2):
        called("run", "data", "--output", "OUT", "--part", f"{number}/16").done()


def for_models(place: Place) -> None:
    """Data, a registry with a second AMN, an evaluation of its models, the demo's folder, and a file of Lightning."""
    place.short_articles("DATASET/a.parquet", "held-out.parquet", "data/a.parquet")
    place.registry("amn-2", models=place.noisy_models())
    place.registry(at="lvm-batch-demo/artifacts/lvm/models")
    place.windows("lvm-batch-demo/windows")
    place.banks("lvm-batch-demo/bank")
    judged = ("--model", "amn-2", "--model", "gru", "--output", place.root / "judged")
    called("evaluate", place.root / "held-out.parquet", *judged).done()
    place.lightning("lightning.ckpt")


def for_routing(place: Place) -> None:
    """Models of which the fallback is better, and rows to find thresholds on."""
    place.registry(models=place.noisy_models())
    place.windows("HELD_OUT", n_rows=1200)
    place.windows("DATASET")
    place.banks("BANK")


def for_watching(place: Place) -> None:
    """Two outputs, and a history of one run that fires no rule."""
    place.history("lvm-batch-demo/history")
    place.output("OUT")
    place.output("OUT-LAST-WEEK")


def for_your_data(place: Place) -> None:
    """Shuffled vectors, and the same in order."""
    place.embeddings()
    place.sequences("DATASET")
    place.sequences("INPUT")


def for_workflows(place: Place) -> None:
    """The job file of the callers, with its paths in this folder, and days before 20 November."""
    settings = (TOP / "workflows/nightly.toml").read_text(encoding="utf-8")
    (place.root / "nightly.toml").write_text(settings.replace("/srv/lvm", str(place.root)), encoding="utf-8")
    place.registry()
    place.banks("bank")
    place.windows("windows/date=2026-11-18")
    place.windows("windows/date=2026-11-19")


PREPARED: dict[str, Callable[[Place], None]] = {
    "README.md": Place.embeddings,
    "docs/every-night.md": for_every_night,
    "docs/gpus-and-clusters.md": for_gpus_and_clusters,
    "docs/models.md": for_models,
    "docs/output.md": lambda place: place.output("OUT", bad=True),
    "docs/routing.md": for_routing,
    "docs/watching.md": for_watching,
    "docs/your-data.md": for_your_data,
    "workflows/README.md": for_workflows,
}
"""What a document needs before its first command."""


@pytest.fixture
def place(tmp_path: Path, models: Path, bank: Path, scheduler: str) -> Iterator[Place]:
    """The working directory, with nothing in it yet."""
    place = Place(tmp_path, models, bank)
    with place.used(scheduler):
        yield place


def is_run(block: Block) -> bool:
    """Whether a reader can run this block: it has commands, or is Python or a settings file."""
    return bool(block.commands) or block.language in {"python", "toml"}


@pytest.mark.parametrize("document", PREPARED)
def test_what_a_document_shows_works(document: str, place: Place) -> None:
    """Every command ends with 0 and every block of Python without an error, in their order."""
    PREPARED[document](place)
    run_blocks(DOCUMENTS[document])


def test_every_document_with_commands_is_run() -> None:
    """Here, or by the test that is named; what is not run is marked, and how many blocks are is known."""
    shown = {name for name, blocks in DOCUMENTS.items() if any(map(is_run, blocks))}
    unmarked = {name for name in shown if any(is_run(each) and not each.not_run for each in DOCUMENTS[name])}
    assert unmarked == PREPARED.keys() | RUN_BY.keys()
    assert all((TOP / test).exists() for test in RUN_BY.values())
    marked = Counter(name for name in shown for each in DOCUMENTS[name] if each.not_run)
    assert marked == NOT_RUN


def test_a_command_that_fails_is_noticed(place: Place) -> None:
    """So is a program that is not ours, unless the block is marked."""
    assert place.root.exists()
    with pytest.raises(AssertionError, match="exit code 2"):
        run_blocks(blocks_of("    $ lvm-batch show nothing\n"))
    with pytest.raises(AssertionError, match="must say why"):
        run_blocks(blocks_of("```sh\nmake demo\n```\n"))
    run_blocks(blocks_of("<!-- not run: it takes long -->\n\n    make demo\n"))
    with pytest.raises(AssertionError, match="exit code 2"):
        run_command("lvm-batch config show --config nothing.toml > printed")
