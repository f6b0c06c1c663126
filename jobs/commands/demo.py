"""``lvm-batch demo``: the main job on the vectors that ship with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lvm_batch.jobs.console import Console
from lvm_batch.jobs.options import takes_console


@takes_console
def demo(
    *,
    console: Console,
    output: Annotated[Path, typer.Option("--output", help="Folder to make.", metavar="DIR")] = Path(
        "lvm-batch-demo"
    ),
) -> int:
    """Train two small models on real vectors, build a bank, and run the job over four shards."""
    from lvm_batch.jobs import demo as first_look

    first_look.make_inputs(output, console)
    outcome = first_look.predict(output, console)
    console.result(outcome.summary, outcome.text, error=outcome.error)
    console.note(first_look.what_next(output))
    return outcome.error.exit_code if outcome.error else 0
