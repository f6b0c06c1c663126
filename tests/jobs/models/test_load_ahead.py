"""Models that the fork server loads before its copies are made: used for the same bytes, and for nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch

from lvm_batch.jobs.models import load
from lvm_batch.jobs.models.facts import NamedModels
from lvm_batch.jobs.processes.forkserver import METHOD
from lvm_batch.lvm.architectures.amn import AttentionMixtureNetwork
from lvm_batch.lvm.checkpoints.checkpoint import save_checkpoint

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "_checkpoints", {})
    monkeypatch.setattr(load, "_predictors", {})


def save_amn(path: Path, *, seed: int = 0) -> Path:
    """A small model with the weights of that seed."""
    torch.manual_seed(seed)
    save_checkpoint(
        path, AttentionMixtureNetwork(16, 8, 8), architecture="amn", epoch=1, val_loss=None, val_cosine=None
    )
    return path


def named(model: Path, *, device: str = "auto") -> NamedModels:
    """A primary model and nothing else."""
    return NamedModels(
        primary=str(model),
        fallback=None,
        bank=None,
        device=device,
        fallback_device=None,
        precision="fp32",
        runs_elsewhere=False,
    )


def test_a_model_loaded_ahead_is_used_for_the_same_bytes_only(tmp_path: Path) -> None:
    """Under any name; when the file has changed, it is loaded as it is then."""
    first, second = save_amn(tmp_path / "first.pt"), save_amn(tmp_path / "second.pt", seed=1)
    load.load_ahead(named(first))
    (checkpoint,) = load._checkpoints.values()
    same = shutil.copy(first, tmp_path / "same.pt")
    found = load.read_checkpoint(str(same))
    assert (found.model is checkpoint.model, found.name) == (True, str(same))
    shutil.copy(second, first)
    assert load.read_checkpoint(str(first)).sha256 != checkpoint.sha256


def test_models_for_other_devices_are_not_loaded_ahead(tmp_path: Path) -> None:
    """A process that has opened a GPU cannot be copied."""
    load.load_ahead(named(save_amn(tmp_path / "model.pt"), device="cuda"))
    assert not load._checkpoints


_DRIVER = """
import sys
from lvm_batch.jobs.models.find import announce_models
from lvm_batch.jobs.processes.forkserver import in_forked_process, start_forkserver
from lvm_batch.jobs.settings.run import RunSettings
start_forkserver()
announce_models(RunSettings(dataset=("in",), output="out", model=sys.argv[1]))
code = "len(__import__('lvm_batch.jobs.models.load', fromlist=['_predictors'])._predictors)"
print(in_forked_process(eval, code), in_forked_process(eval, "len(__import__('os').listdir('/proc/self/task'))"))
"""


@pytest.mark.slow
@pytest.mark.skipif(METHOD != "forkserver", reason="workers start on their own here")
def test_copies_have_the_models_that_were_announced(tmp_path: Path) -> None:
    """The server has loaded them by the time that it is copied, also where there is no model at that path."""
    for model, expected in ((save_amn(tmp_path / "model.pt"), "1 2\n"), (tmp_path / "nowhere.pt", "0 2\n")):
        done = subprocess.run(
            [sys.executable, "-c", _DRIVER, str(model)], capture_output=True, text=True, check=True
        )
        assert done.stdout == expected  # a thread watches for the end of the driver
