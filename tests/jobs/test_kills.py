"""Kills at random moments, of any process of a run, also while a dataset grows and is predicted again."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from kills import VICTIMS, World, clean_rows

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS = ("--unit-size", "180KiB", "--shadow-rate", "0", "--workers", "2")


@pytest.fixture(scope="module")
def clean(models: Path, scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> Any:  # noqa: ANN401
    """What every version of every night must become."""
    from lvm_batch.jobs.cli import main

    options = (*OPTIONS[:4], *model_options(models), "--scheduler", scheduler)

    def run(data: Path, output: Path) -> None:
        assert main(["run", str(data), "--output", str(output), *options]) == 0

    return clean_rows(run, tmp_path_factory.mktemp("clean"))


def model_options(models: Path) -> tuple[str, ...]:
    """The options that name the models."""
    return ("--model", str(models / "amn.pt"), "--fallback", str(models / "gru.pt"))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(4))
def test_random_kills_on_disk(seed: int, clean: Any, models: Path, tmp_path: Path) -> None:  # noqa: ANN401
    """Twenty-five rounds: no row is lost, doubled or changed, and nothing that the output says is a lie."""
    world = World(tmp_path, (*OPTIONS, *model_options(models)), clean, seed, str(tmp_path / "out"))
    for _ in range(25):
        world.round()
    world.finish()
    assert {victim for victim, _ in world.endings} == set(VICTIMS)
    print(Counter(world.endings))  # noqa: T201 - what a soak is read for
