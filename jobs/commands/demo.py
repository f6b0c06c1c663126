"""``lvm-batch demo``: the main job on the vectors that ship with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.settings.options import takes_console
from lvm_batch.jobs.settings.paths import DEMO_FOLDER, path_argument


@takes_console
def demo(
    *,
    console: Console,
    output: Annotated[
        str, typer.Option("--output", help="Folder to make.", metavar="DIR", parser=path_argument)
    ] = DEMO_FOLDER,
) -> int:
    """Train two small models on real vectors, and run the job with them.

    It builds a bank too, and predicts four shards, in about a minute. The folder that it makes
    can be deleted.

    Examples:
        lvm-batch demo
        lvm-batch demo --output /tmp/first-look
    """
    console.doing("loading torch")
    from rich.console import Group

    from lvm_batch.jobs import demo as first_look

    root = Path(output)
    first_look.make_inputs(root, console)
    outcome = first_look.predict(root, console)
    console.result(
        outcome.summary.to_json(),
        Group(outcome.text, "", first_look.first_rows(root)),
        warnings=[warning.as_dict for warning in outcome.summary.warnings],
        error=outcome.error,
    )
    console.note(first_look.next_steps(root))
    return outcome.error.exit_code if outcome.error else 0
