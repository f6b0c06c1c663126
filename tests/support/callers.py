"""The callers in ``workflows/``, placed in a test's folder, and the command that each of them runs."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import yaml

from support.datasets import windows, write_windows

if TYPE_CHECKING:
    from collections.abc import Callable

WORKFLOWS = Path(__file__).parents[2] / "workflows"
ROWS_A_DAY = 6

_LVM_BATCH = """\
#!/bin/sh
printf '%s\\n' "$@" >"$0.called"
if [ -n "$ENDS_WITH" ]; then exit "$ENDS_WITH"; fi
exec {python} -c 'import sys; from lvm_batch.jobs.cli import main; sys.exit(main())' "$@"
"""
"""Records its arguments, then runs the command, or exits at once with the code in ENDS_WITH."""


@dataclass(frozen=True)
class Site:
    """A machine as the callers expect it, below ``root``: the command, its settings, its data."""

    root: Path
    environ: dict[str, str]

    @property
    def output(self) -> Path:
        """The output folder."""
        return self.root / "srv/lvm/predictions"

    @property
    def summary(self) -> dict[str, Any]:
        """The summary of the last completed run."""
        return json.loads((self.output / "_lvm_batch/summary.json").read_text())

    @property
    def called(self) -> list[str]:
        """The arguments of the last call of the command."""
        return (self.root / "opt/lvm-batch/bin/lvm-batch.called").read_text().splitlines()

    def placed(self, text: str) -> str:
        """Return ``text`` with its paths below ``root``."""
        return re.sub(r"/(opt/lvm-batch|etc/lvm-batch|srv/lvm)\b", rf"{self.root}/\1", text)

    def add_day(self, day: date) -> None:
        """Add the input of one more day."""
        contexts, targets = (part[:ROWS_A_DAY] for part in windows())
        write_windows(self.root / f"srv/lvm/windows/date={day}/part-0.parquet", contexts, targets)


def make_site(root: Path, *, models: Path, bank: Path, scheduler: str) -> Site:
    """Set up a site whose commands use the cluster at ``scheduler``, so that none has to start workers."""
    binaries = root / "opt/lvm-batch/bin"
    environ = {
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "LVM_BATCH_SCHEDULER": scheduler,
        "OMP_NUM_THREADS": "1",
        "no_proxy": "*",
    }
    site = Site(root, environ)
    for folder in (binaries, root / "etc/lvm-batch", root / "srv/lvm"):
        folder.mkdir(parents=True)
    (binaries / "lvm-batch").write_text(_LVM_BATCH.format(python=sys.executable))
    (binaries / "lvm-batch").chmod(0o755)
    for name in ("nightly.toml", "backfill.toml"):
        (root / "etc/lvm-batch" / name).write_text(site.placed((WORKFLOWS / name).read_text()))
    for name in ("amn", "gru"):
        folder = root / f"srv/lvm/artifacts/lvm/models/{name}"
        folder.mkdir(parents=True)
        shutil.copy(models / f"{name}.pt", folder / "best_model.pt")
    shutil.copytree(bank, root / "srv/lvm/bank")
    return site


def today() -> date:
    """The date that ``--as-of now`` stands for."""
    return datetime.now(UTC).date()


def day_before(n_days: int) -> date:
    """The date that many days before today."""
    return today() - timedelta(days=n_days)


def cron_command() -> str:
    """The command that cron passes to the shell."""
    (line,) = [
        line for line in (WORKFLOWS / "cron/lvm-batch-nightly").read_text().splitlines() if line[:1].isdigit()
    ]
    *_, command = line.split(maxsplit=6)
    assert "%" not in command  # cron would read it as a newline
    return command


def unit_file(name: str) -> dict[str, dict[str, str]]:
    """The sections of a unit file; for a repeated key the last value counts."""
    sections: dict[str, dict[str, str]] = {}
    for line in (WORKFLOWS / "systemd" / name).read_text().splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            key, value = line.split("=", 1)
            section[key] = value
    return sections


def systemd_command() -> str:
    """The command that systemd runs, without a shell."""
    return unit_file("lvm-batch-nightly.service")["Service"]["ExecStart"]


def airflow_operator() -> dict[str, Any]:
    """The literal arguments of the DAG's only operator."""
    (call,) = [
        node
        for node in ast.walk(ast.parse((WORKFLOWS / "airflow_dag.py").read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "BashOperator"
    ]
    plain = [keyword for keyword in call.keywords if keyword.arg not in {"retry_delay", "execution_timeout"}]
    return {keyword.arg: ast.literal_eval(keyword.value) for keyword in plain}


def airflow_command() -> str:
    """The command that Airflow passes to bash, with its templates filled in for tonight."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - as Airflow
    environment.filters["ds"] = lambda time: time.strftime("%Y-%m-%d")
    return environment.from_string(airflow_operator()["bash_command"]).render(
        data_interval_end=datetime.now(UTC)
    )


def kubernetes_job() -> dict[str, Any]:
    """The CronJob."""
    return yaml.safe_load((WORKFLOWS / "kubernetes.yaml").read_text())


def kubernetes_command() -> str:
    """The command that the image's entrypoint runs with the container's arguments."""
    (container,) = kubernetes_job()["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert "command" not in container  # it would take the place of the entrypoint
    *_, command = dockerfile()["ENTRYPOINT"]
    return " ".join([command, *container["args"]])


def dockerfile() -> dict[str, Any]:
    """The last stage of the Dockerfile: each instruction's last arguments, a list where they are JSON."""
    text = re.sub(r"\\\n\s*", "", (WORKFLOWS / "container/Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    last_stage = max(number for number, line in enumerate(lines) if line.startswith("FROM "))
    instructions = dict(line.split(" ", 1) for line in lines[last_stage:])
    return {
        name: json.loads(value) if value.startswith("[") else value for name, value in instructions.items()
    }


def github_workflow() -> dict[str, Any]:
    """The workflow; its key ``on`` is YAML's true."""
    return yaml.safe_load((WORKFLOWS / "github_actions.yml").read_text())


def github_command() -> str:
    """The command that the runner passes to bash, with the environment of the step."""
    step = github_workflow()["jobs"]["predict"]["steps"][0]
    as_of = re.fullmatch(r"\$\{\{ inputs\.as_of \|\| '(\w+)' \}\}", step["env"]["AS_OF"])
    return f"export AS_OF={as_of[1]}; {step['run']}"


COMMANDS: dict[str, Callable[[], str]] = {
    "cron": cron_command,
    "systemd": systemd_command,
    "airflow": airflow_command,
    "kubernetes": kubernetes_command,
    "github": github_command,
}
"""The command that each caller runs."""
