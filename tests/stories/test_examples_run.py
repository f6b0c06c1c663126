"""Every example of ``--help``, which the reference of the commands shows too, works as it is printed.

Examples of one command are alternatives, so each has a folder of its own; ``prepared`` holds what they name.
"""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.command import called
from support.command_reference import PAGE
from support.datasets import sample, vectors
from support.place import N_ROWS, Place
from support.shown import blocks_of, run_command

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

NOT_RUN = {
    "lvm-batch demo": "tests/jobs/commands/test_demo.py runs it",
    "lvm-batch demo --output /tmp/first-look": "tests/jobs/commands/test_demo.py runs it",
    "lvm-batch train data/ --arch gru --output models/gru --epochs 5 --device cuda": "needs a GPU",
    "lvm-batch status s3://bucket/out --json": "needs a bucket; tests/stories/test_object_store_run.py has one",
    "lvm-batch report out/ --output /srv/pages/night.html": "needs the folder of a web server",
    "lvm-batch serve --model amn/best_model.pt --bank bank/": "serves until it is stopped",
    "lvm-batch serve --model amn --fallback gru --host 0.0.0.0 --port 8080": "serves until it is stopped",
    "lvm-batch bench": "takes minutes; tests/jobs/benchmark runs it on less",
    "lvm-batch bench data/ --bank bank --min-margin 0.01": "takes minutes",
    "lvm-batch bench --model amn/best_model.pt --rows 20000 --workers 2": "takes minutes",
}
"""Examples that are not run here, and why."""

EXAMPLES = [
    command
    for part in PAGE.read_text(encoding="utf-8").split("\nExamples:\n")[1:]
    for command in blocks_of(part)[0].commands
]
JOB = """\
dataset = ["data"]
output = "predictions"
model = "amn"
fallback = "gru"
bank = "bank"
"""


@pytest.fixture(scope="module")
def prepared(models: Path, bank: Path, scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A folder with everything that examples name."""
    place = Place(tmp_path_factory.mktemp("examples"), models, bank)
    with place.used(scheduler):
        (place.root / "data").mkdir()
        data = sample().slice(0, N_ROWS)
        pq.write_table(data.append_column("doc_id", data["article_id"]), "data/part-0.parquet")
        place.short_articles("held-out/a.parquet")
        place.registry("amn-2", "gru-2", models=place.noisy_models())
        shutil.copytree("artifacts/lvm/models", "models")
        shutil.copytree("artifacts/lvm/models/amn", "amn")
        place.lightning("lightning.ckpt")
        called("bank", "build", "held-out", "--output", "bank").done()
        place.output("out")
        place.output("out-of-last-week")
        place.history("history")
        called("evaluate", "held-out", "--model", "amn", "--model", "gru", "--output", "judged").done()
        shutil.copy("judged/evaluation.json", "evaluation.json")
        called("models", "release", "amn", "--bank", "bank", "--output", "released").done()
        run_command("lvm-batch monitor --print-rules > rules.toml")
        (place.root / "job.toml").write_text(JOB, encoding="utf-8")
        np.savez(place.root / "vectors.npz", vectors=vectors()[:N_ROWS])
        rows = zip(sample()["article_id"].to_pylist(), vectors()[:60].tolist(), strict=False)
        lines = [
            json.dumps({"doc": doc, "position": at, "vector": row}) for at, (doc, row) in enumerate(rows)
        ]
        (place.root / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return place


def written_by(example: str) -> set[str]:
    """The names in the working directory that an example writes."""
    outputs = re.findall(r"--output ([\w-]+)", example)
    return {*outputs, *re.findall(r"models convert \S+ ([\w.-]+)", example)}


@pytest.mark.parametrize("example", [example for example in EXAMPLES if example not in NOT_RUN])
def test_an_example_works(example: str, prepared: Place, scheduler: str, tmp_path: Path) -> None:
    """It ends with 0 in a folder that holds what it names, except what it writes."""
    place = prepared.copied(tmp_path, without=written_by(example))
    with place.used(scheduler):
        run_command(example)


def test_what_is_not_run_is_an_example() -> None:
    """So that no reason outlives its example."""
    assert NOT_RUN.keys() < set(EXAMPLES)
