"""What one query takes, and what the cards ask of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from lvm_batch.jobs.models.latency import QueryCost, query_cost
from lvm_batch.jobs.models.query_table import query_rows
from lvm_batch.jobs.processes.resources import give_back_freed_memory, own_bytes
from lvm_batch.lvm import ContextModel, build_model
from lvm_batch.lvm.registry.published_cards import QUERY_TARGETS

CARDS = Path(__file__).parents[3] / "lvm/cards"


def gru() -> ContextModel:
    """The published GRU, 28.4 MB of weights."""
    return build_model("gru", seed=0)


def test_a_query_takes_the_memory_of_its_model() -> None:
    """It is that of the weights and a little more, and the quantiles of the time are in order."""
    cost = query_cost(gru, length=5, n_queries=5)
    times = cost.latency_ms
    assert 0 < times["p50"] <= times["p95"] <= times["p99"]
    assert times["mean"] > 0
    if cost.memory_bytes is None:
        pytest.skip("this system does not tell what memory a process holds for itself")
    assert 0.9 < cost.memory_bytes / (4 * gru().n_parameters) < 2


def test_memory_of_a_process_is_what_it_holds_beside_files(tmp_path: Path) -> None:
    """The system's own figure is read; where there is none, nothing is known."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/status").write_text("VmRSS:\t  200 kB\nRssAnon:\t  100 kB\n")
    assert own_bytes(tmp_path) == 100 * 1024
    assert own_bytes(tmp_path / "nowhere") is None
    before = own_bytes() if give_back_freed_memory() else None
    if before is None:
        pytest.skip("this system does not tell what memory a process holds for itself")
    held = torch.ones(16 * 2**20)
    grown = (own_bytes() or 0) - before
    assert grown > held.nbytes / 2


def test_a_row_says_what_the_card_asks() -> None:
    """The rate follows from the mean; an unknown figure and a model without a card have a dash."""
    times = {"mean": 0.5, "p50": 0.4, "p95": 0.9, "p99": 1.2}
    known, unknown = QueryCost(times, 12_340_000).as_dict, QueryCost(times, None).as_dict
    _, amn, lstm = query_rows([("a", "amn", known), ("b", "lstm", unknown)])
    assert amn == ["a", "0.500", "0.400", "0.900", "1.200", "2,000", "1,500", "12.3", "15/20"]
    assert lstm[5:] == ["2,000", "-", "-", "-"]


@pytest.mark.parametrize("name", ["amn-mixer", "gru"])
def test_what_is_asked_stands_in_the_card(name: str) -> None:
    """Queries a second and both limits of memory are those of the card's section on monitoring."""
    monitoring = (CARDS / f"{name}.md").read_text().split("## Monitoring")[1]
    targets = QUERY_TARGETS[name]
    assert f"one thread | at least {targets.queries_per_s:,} |" in monitoring
    memory = re.search(r"memory \| at most (\d+) MB \| over (\d+) MB", monitoring)
    assert memory is not None
    assert tuple(map(int, memory.groups())) == (targets.memory_mb, targets.memory_alert_mb)
