"""Predictions every night, as an Airflow 3 DAG: copy it into the DAGs folder.

The rule: the command does the work; this file sets only the time and the retries. Airflow has one kind of failure, so
it retries every exit code, every ten minutes for an hour. 75 (another run holds the output, or the scheduler is
unreachable) needs that. After 1, a retry computes what is missing; after 2, 3 and 70 it fails again within seconds.
``skip_on_exit_code=75`` would skip this task and all tasks after it. The command runs in an environment of its own, so
Airflow's needs no lvm-batch; where it has it, ``lvm_batch.run`` in a ``@task`` does the same.

Airflow 2 has the same names under ``airflow`` (DAG) and ``airflow.operators.bash``.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG(
    dag_id="lvm_batch_nightly",
    schedule="30 2 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
):
    BashOperator(
        task_id="predict",
        # data_interval_end is the night of the run; ds is the same in Airflow 3, but the day before in Airflow 2.
        # exec: if the task is cleared or times out, SIGTERM reaches the command, which stops cleanly.
        bash_command=(
            "exec /opt/lvm-batch/bin/lvm-batch run --config /etc/lvm-batch/nightly.toml"
            " --as-of {{ data_interval_end | ds }}"
        ),
        append_env=True,  # LVM_BATCH_PING_URL comes from the worker's environment
        retries=6,
        retry_delay=timedelta(minutes=10),
        execution_timeout=timedelta(hours=12),
    )
