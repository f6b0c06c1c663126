"""Predictions every night, as a Prefect 3 flow: ``pip install 'lvm-batch[prefect]'``, then ``python prefect_flow.py``.

The rule: the command does the work and says what came of it; here that is only put in Prefect's terms. Exit code 75
(another run holds the output, or the scheduler is away) is tried again every ten minutes for two hours; any other but 0
is a failed state whose message is the command's error. What the command printed is the run's artifact.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run
from prefect.states import Completed, Failed, State

LVM_BATCH = "/opt/lvm-batch/bin/lvm-batch"
CONFIG = "/etc/lvm-batch/nightly.toml"
TRY_AGAIN = 75


def command(as_of: str) -> list[str]:
    """What is run."""
    return [LVM_BATCH, "run", "--config", CONFIG, "--as-of", as_of, "--json"]


@flow(name="lvm-batch-nightly")
def nightly(as_of: str | None = None) -> State[Any]:
    """Predict what came before the day ``as_of``, or before the day that the flow run was scheduled for (UTC)."""
    state = predict(as_of or f"{flow_run.scheduled_start_time:%Y-%m-%d}", return_state=True)
    return (Completed if state.is_completed() else Failed)(message=state.message)


@task(
    retries=12,
    retry_delay_seconds=600,
    retry_condition_fn=lambda _task, _run, state: state.name == "TryAgain",
    persist_result=False,
)
def predict(as_of: str) -> State[Any]:
    """Run the command; one that is cancelled is ended by SIGTERM, and resumed by the next."""
    with subprocess.Popen(command(as_of), stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - no shell
        try:
            printed, _ = process.communicate()
        except BaseException:
            process.terminate()
            raise
    create_markdown_artifact(
        f"```json\n{printed}\n```", key="lvm-batch-nightly", description=f"As of {as_of}"
    )
    return state_of(process.returncode, json.loads(printed or "{}"))


def state_of(code: int, summary: dict[str, Any]) -> State[Any]:
    """The state that an exit code is, with what the command says of it."""
    if code == 0:
        return Completed(message=f"{summary['rows_out']:,} rows in {summary['output']}")
    error = summary.get("error", {"message": "it was ended from outside", "hint": "the next run resumes"})
    name = "TryAgain" if code == TRY_AGAIN else None
    return Failed(message=f"exit code {code}: {error['message']}; what to do: {error['hint']}", name=name)


if __name__ == "__main__":
    nightly.serve(name="nightly", cron="30 2 * * *", limit=1)
