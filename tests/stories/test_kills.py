"""Kills at random moments, of any process of a run, also while a dataset grows and is predicted again."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from support import buckets
from support.kills import BEAT_S, TTL_S, VICTIMS, World, WorldOfParts, clean_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

OPTIONS = ("--unit-size", "180KiB", "--shadow-rate", "0", "--workers", "2")


@pytest.fixture(scope="module")
def clean(models: Path, scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> Any:  # noqa: ANN401
    """The expected rows of every version of every night."""
    from lvm_batch.jobs.cli import main

    options = (*OPTIONS[:4], *model_options(models), "--scheduler", scheduler)

    def run(data: Path, output: Path) -> None:
        assert main(["run", str(data), "--output", str(output), *options]) == 0

    return clean_rows(run, tmp_path_factory.mktemp("clean"))


def model_options(models: Path) -> tuple[str, ...]:
    """The options that name the models."""
    return ("--model", str(models / "amn.pt"), "--fallback", str(models / "gru.pt"))


@contextmanager
def slow_store(monkeypatch: pytest.MonkeyPatch, *, seed: int) -> Iterator[str]:
    """An output in a bucket whose changes take up to 0.3 s, so that they overtake one another."""
    monkeypatch.setattr("lvm_batch.io.storage.lease.BEAT_S", BEAT_S)
    monkeypatch.setattr("lvm_batch.io.storage.lease.TTL_S", TTL_S)
    chance = random.Random(seed)  # noqa: S311 - no secret

    def delay(line: str) -> float:
        return chance.choice((0.0, 0.02, 0.3)) if line.startswith(("PUT", "DELETE", "POST")) else 0.0

    with buckets.serving() as server, buckets.environment(server):
        server.delay = delay
        yield f"s3://{buckets.new_bucket(server)}/out"


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(4))
def test_random_kills_on_disk(seed: int, clean: Any, models: Path, tmp_path: Path) -> None:  # noqa: ANN401
    """Twenty-five rounds: no row is lost, doubled or changed, and the output's own reports are correct."""
    world = World(tmp_path, (*OPTIONS, *model_options(models)), clean, seed, str(tmp_path / "out"))
    for _ in range(25):
        world.round()
    world.finish()
    assert {victim for victim, _ in world.endings} == set(VICTIMS)
    print(Counter(world.endings))  # noqa: T201 - the result of a soak


@pytest.mark.soak
def test_random_kills_over_a_slow_store(
    clean: Any,  # noqa: ANN401
    models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Twenty rounds over S3 with slow requests that overtake one another, and arrive after their run has died."""
    with slow_store(monkeypatch, seed=5) as output:
        world = World(tmp_path, (*OPTIONS, *model_options(models)), clean, 5, output)
        for _ in range(20):
            world.round()
        world.finish()
    print(Counter(world.endings))  # noqa: T201 - the result of a soak


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2))
def test_random_kills_of_parts_on_disk(seed: int, clean: Any, models: Path, tmp_path: Path) -> None:  # noqa: ANN401
    """Fifteen rounds of three parts at once: no row is lost or doubled, and no job ends before all of it is done."""
    options = (*OPTIONS[:-1], "1", *model_options(models))
    world = WorldOfParts(tmp_path, options, clean, seed, str(tmp_path / "out"))
    for _ in range(15):
        world.round()
    world.finish()
    print(Counter(world.endings))  # noqa: T201 - the result of a soak


@pytest.mark.soak
def test_random_kills_of_parts_over_a_slow_store(
    clean: Any,  # noqa: ANN401
    models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ten rounds over S3 with slow requests that overtake one another, and arrive after their part has died."""
    with slow_store(monkeypatch, seed=6) as output:
        options = (*OPTIONS[:-1], "1", *model_options(models))
        world = WorldOfParts(tmp_path, options, clean, 6, output)
        for _ in range(10):
            world.round()
        world.finish()
    print(Counter(world.endings))  # noqa: T201 - the result of a soak
