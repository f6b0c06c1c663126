"""Predictions every night, as an Airflow 3 DAG: copy it into the DAGs folder.

The rule: the command does the work; here stand the time, the retries and nothing else. Airflow knows one kind of
failure, so it tries every exit code again, after ten minutes, for an hour. That is what 75 (another run holds the
output, or the scheduler is away) needs. After 1 it does what is missing, and 2, 3 and 70 are told again within seconds.
``skip_on_exit_code=75`` would skip instead, together with all that comes after this task.

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
        # data_interval_end is the night that the run is for; ds is that in Airflow 3, and the day before in Airflow 2.
        # exec: the SIGTERM of a task that is cleared or times out reaches the command, which ends in good order.
        bash_command=(
            "exec /opt/lvm-batch/bin/lvm-batch run --config /etc/lvm-batch/nightly.toml"
            " --as-of {{ data_interval_end | ds }}"
        ),
        append_env=True,  # LVM_BATCH_PING_URL comes from the worker's environment
        retries=6,
        retry_delay=timedelta(minutes=10),
        execution_timeout=timedelta(hours=12),
    )
