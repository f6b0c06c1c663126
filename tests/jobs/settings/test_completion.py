"""What a shell completes: commands, options and values, without loading a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lvm_batch.jobs.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Completed = Callable[[str], list[str]]


@pytest.fixture
def completed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Completed:
    """Complete the last word of a line as bash asks for it."""

    def ask(line: str) -> list[str]:
        words = line.split(" ")
        monkeypatch.setenv("_LVM_BATCH_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        with pytest.raises(SystemExit) as ended:
            main([])
        assert ended.value.code == 0
        return capsys.readouterr().out.split()

    return ask


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry of two models, which the environment names."""
    for name in ("amn-7", "gru-7"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "best_model.pt").touch()
    monkeypatch.setenv("LVM_BATCH_MODELS", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("lvm-batch mod", ["models"]),
        ("lvm-batch models pro", ["promote"]),
        ("lvm-batch run --fallback-p", ["--fallback-policy"]),
        ("lvm-batch run --device c", ["cpu", "cuda"]),
        ("lvm-batch run data --fallback-policy ", ["warn", "cap", "fail"]),
        ("lvm-batch run --precision b", ["bf16"]),
        ("lvm-batch pack a.npz --encoding fixed_size_l", ["fixed_size_list"]),
        ("lvm-batch bank build a --index ", ["exact", "faiss"]),
        ("lvm-batch train a --arch amn-", ["amn-mixer"]),
        ("lvm-batch models rollback --role f", ["fallback_model"]),
        ("lvm-batch run --log-format ", ["text", "json"]),
        ("lvm-batch run da", []),
        ("lvm-batch run --output ", []),
    ],
)
def test_values_are_completed(line: str, values: list[str], completed: Completed) -> None:
    """Names of commands, options and values are completed; an empty answer leaves it to the shell's names of files."""
    assert completed(line) == values


def test_models_are_completed_by_their_names(completed: Completed, models: Path, tmp_path: Path) -> None:
    """The registry is that of the line, the environment or the file; a path is left to the shell."""
    assert completed("lvm-batch run data --model ") == ["amn-7", "gru-7"]
    assert completed("lvm-batch evaluate data --model g") == ["gru-7"]
    assert completed(f"lvm-batch run --models-dir {tmp_path / 'none'} --model ") == []
    assert completed(f"lvm-batch run --models-dir {models} --fallback a") == ["amn-7"]
    assert completed("lvm-batch run --model ./") == []


@pytest.mark.usefixtures("models")
def test_commands_on_the_registry_complete_roles_too(completed: Completed) -> None:
    """`models show` takes a name or a role."""
    assert completed("lvm-batch models show ") == ["amn-7", "gru-7", "production_model", "fallback_model"]


def test_wrong_settings_do_not_stop_completion(completed: Completed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong variable is reported by the command, not in the middle of a line."""
    monkeypatch.setenv("LVM_BATCH_DEVIEC", "cpu")
    assert completed("lvm-batch run --model ") == []
