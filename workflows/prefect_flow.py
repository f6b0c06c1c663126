"""Predictions every night, as a Prefect 3 flow: ``pip install 'lvm-batch[prefect]'``, then ``python prefect_flow.py``.

The rule: ``lvm_batch.run`` does the work; this file only translates its result for Prefect. An error with exit code 75
(another run holds the output, or the scheduler is unreachable) is retried every ten minutes for two hours; any other
error is a failed state with the error's message. The summary is the run's artifact.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run
from prefect.states import Completed, Failed, State

import lvm_batch

CONFIG = "/etc/lvm-batch/nightly.toml"


@flow(name="lvm-batch-nightly")
def nightly(as_of: str | None = None) -> State[Any]:
    """Predict the input from before the day ``as_of``, by default the scheduled day of the flow run (UTC)."""
    state = predict(as_of or f"{flow_run.scheduled_start_time:%Y-%m-%d}", return_state=True)
    return (Completed if state.is_completed() else Failed)(message=state.message)


@task(
    retries=12,
    retry_delay_seconds=600,
    retry_condition_fn=lambda _task, _run, state: state.name == "TryAgain",
    persist_result=False,
)
def predict(as_of: str) -> State[Any]:
    """Run the job; if it is cancelled, it stops cleanly, and the next run resumes it."""
    try:
        result = lvm_batch.run(config=CONFIG, as_of=as_of)
    except lvm_batch.LvmBatchError as error:
        return failed(error)
    create_markdown_artifact(f"```\n{result}\n```", key="lvm-batch-nightly", description=f"As of {as_of}")
    return Completed(message=f"{result['rows_out']:,} rows in {result.output}")


def failed(error: lvm_batch.LvmBatchError) -> State[Any]:
    """Return the state for an error; its name decides whether the task is retried."""
    name = "TryAgain" if error.exit_code == lvm_batch.TryAgain.exit_code else None
    return Failed(message=f"{error.kind}: {error.message}; what to do: {error.hint}", name=name)


if __name__ == "__main__":
    nightly.serve(name="nightly", cron="30 2 * * *", limit=1)
