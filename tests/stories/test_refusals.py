"""User mistakes that are found before a run starts: one clear error, exit code 2, nothing written."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from support import thrift
from support.datasets import sample, vectors, windows, write_windows

from lvm_batch.io.bank.bank import build_bank
from lvm_batch.io.dataset.files import find_files
from lvm_batch.jobs.cli import main
from lvm_batch.jobs.errors import SettingsError
from lvm_batch.jobs.models.load import load_cascade
from lvm_batch.jobs.prediction.planning.plan import make_plan
from lvm_batch.jobs.settings.run import RunSettings
from lvm_batch.lvm import AttentionMixtureNetwork, save_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A valid dataset."""
    return write_windows(tmp_path / "good/a.parquet", windows()[0][:20])


@pytest.fixture
def refused(predict: Callable[..., Any], tmp_path: Path) -> Callable[..., str]:
    """Run, expect a refusal that wrote nothing, and return its message and hint."""

    def call(*arguments: object, output: str = "out") -> str:
        result = predict(*arguments, "--output", tmp_path / output)
        assert result.code == 2, result
        assert not list((tmp_path / output).glob("**/_lvm_batch/job.json"))
        error = result.values["error"]
        assert error["hint"]
        assert "Traceback" not in result.stderr
        return " ".join([error["message"], error["hint"], *(p["message"] for p in error.get("problems", []))])

    return call


def test_a_missing_path(refused: Callable[..., str], tmp_path: Path) -> None:
    """The error names the missing path and its last existing folder."""
    text = refused(tmp_path / "good/nowhere/x.parquet")
    assert "nowhere/x.parquet does not exist" in text
    assert str(tmp_path) in text


def test_an_empty_folder(refused: Callable[..., str], tmp_path: Path) -> None:
    """A folder with only hidden files is refused as empty."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/_SUCCESS").touch()
    assert "has no files to read" in refused(tmp_path / "empty")


def test_a_pattern_that_matches_nothing(refused: Callable[..., str], good: Path) -> None:
    """A glob without a match is refused."""
    assert "no file matches" in refused(good.parent / "*.pq")


@pytest.mark.parametrize("content", [b"", b"not Parquet at all", b"PAR1 cut short"])
def test_a_file_that_is_not_parquet(refused: Callable[..., str], good: Path, content: bytes) -> None:
    """The error names the one unreadable file among good ones, and the option that skips it."""
    (good.parent / "b.parquet").write_bytes(content)
    text = refused(good.parent)
    assert "b.parquet cannot be read as Parquet" in text
    assert "--on-bad-file skip" in text


def test_a_truncated_parquet_file(refused: Callable[..., str], good: Path) -> None:
    """The error names a file whose end is missing."""
    good.write_bytes(good.read_bytes()[:-100])
    assert "a.parquet cannot be read" in refused(good)


@pytest.mark.parametrize("argument", ["", "*.parquet"])
def test_a_link_that_leads_nowhere(refused: Callable[..., str], good: Path, argument: str) -> None:
    """A broken link, e.g. to a disk that is not mounted, is named, in a folder and in a pattern."""
    (good.parent / "b.parquet").symlink_to("/nonexistent/b.parquet")
    assert "b.parquet no longer exists" in refused(good.parent / argument)


def test_an_unreadable_file_is_left_out_on_request(
    predict: Callable[..., Any], good: Path, tmp_path: Path
) -> None:
    """With --on-bad-file skip the others run and the exit code is 1; once repaired, the same command does the rest."""
    (good.parent / "b.parquet").write_bytes(b"junk")
    arguments = (good.parent, "--output", tmp_path / "out", "--on-bad-file", "skip")
    result = predict(*arguments)
    assert (result.code, result.values["rows_out"]) == (1, 20)
    assert "b.parquet" in result.values["error"]["message"]
    assert not (tmp_path / "out/_SUCCESS").exists()
    write_windows(good.parent / "b.parquet", windows()[0][:5])
    mended = predict(*arguments)
    assert (mended.code, mended.values["rows_out"], mended.values["units_computed"]) == (0, 25, 1)


def test_a_name_in_a_footer_that_is_no_text(
    refused: Callable[..., str], predict: Callable[..., Any], good: Path, tmp_path: Path
) -> None:
    """A damaged byte in the name of a column chunk makes its file unreadable."""
    damaged = write_windows(good.parent / "b.parquet", windows()[0][:200])
    footer = thrift.read_footer(damaged)
    chunk = footer[4][1][1][0][1][1][1][0][3][1]
    chunk[3] = (thrift.LIST, (thrift.BINARY, [b"c\xf4ntext", *chunk[3][1][1][1:]]))
    damaged.write_bytes(thrift.with_footer(damaged, footer))
    assert "b.parquet cannot be read as Parquet" in refused(good.parent)
    result = predict(good.parent, "--output", tmp_path / "out", "--on-bad-file", "skip")
    assert (result.code, result.values["rows_out"]) == (1, 20)
    assert "b.parquet" in result.values["error"]["message"]


def test_no_context_and_no_vector(refused: Callable[..., str], tmp_path: Path) -> None:
    """Without a column to read, the error lists the existing columns and the nearest name."""
    pq.write_table(pa.table({"contexts": [1.0], "id": [1]}), tmp_path / "in.parquet")
    text = refused(tmp_path / "in.parquet")
    assert "neither a `context` nor a `vector` column" in text
    assert "--context-column contexts" in text


def test_sequences_without_their_keys(refused: Callable[..., str], tmp_path: Path) -> None:
    """A column of vectors needs an article and a position."""
    pq.write_table(sample().select(["vector", "position"]).slice(0, 9), tmp_path / "in.parquet")
    assert "no `article_id` column" in refused(tmp_path / "in.parquet")


@pytest.mark.parametrize(
    "column",
    [
        pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(3839 * 2, "f4")), 3839),
        pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(5 * 512 * 2, "f4")), 5 * 512),
        pa.array([b"x" * 3840] * 2, pa.binary(3840)),
        pa.array(["text", "text"]),
    ],
    ids=["3839", "5x512", "binary", "text"],
)
def test_a_column_of_the_wrong_width(refused: Callable[..., str], tmp_path: Path, column: pa.Array) -> None:
    """A column that cannot hold contexts is refused by name, with the expected width."""
    pq.write_table(pa.table({"context": column}), tmp_path / "in.parquet")
    text = refused(tmp_path / "in.parquet")
    assert "in.parquet: column `context`" in text
    assert "768" in text


@pytest.mark.parametrize("name", ["status", "STATUS"])
def test_a_column_named_like_an_output(
    refused: Callable[..., str], predict: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    """A carried column with the name of an output column is refused unless it is renamed."""
    path = write_windows(tmp_path / "in.parquet", windows()[0][:5], columns={name: [1, 2, 3, 4, 5]})
    assert f"--rename {name}=" in refused(path)
    assert "`Route`" in refused(path, "--rename", f"{name}=Route")
    assert predict(path, "--output", tmp_path / "out", "--rename", f"{name}=old").code == 0
    assert pq.read_table(tmp_path / "out/in-00000.parquet")["old"].to_pylist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("folder", ["status=ok", "Status=ok"])
def test_a_folder_named_like_an_output(refused: Callable[..., str], tmp_path: Path, folder: str) -> None:
    """A folder column with the name of an output column is refused; the error names a file below it."""
    write_windows(tmp_path / "in" / folder / "a.parquet", windows()[0][:5])
    text = refused(tmp_path / "in")
    assert f"{folder}/a.parquet is in a folder that adds a column `{folder[:6]}`" in text


def test_a_rename_of_no_column(refused: Callable[..., str], good: Path) -> None:
    """Renaming a column that no file has is refused as a typo."""
    assert "no file has a column `lan`" in refused(good, "--rename", "lan=x")


@pytest.mark.parametrize(("option", "name"), [("--model", "gru"), ("--fallback", "amn")])
def test_a_checkpoint_of_another_architecture(
    refused: Callable[..., str], good: Path, models: Path, option: str, name: str
) -> None:
    """A model of the wrong architecture for its role is refused, since rows record which model answered."""
    text = refused(good, option, models / f"{name}.pt")
    assert f"{name}.pt" in text
    assert "architecture" in text


@pytest.mark.parametrize("size", [0, 10, 5000, -1000])
def test_a_truncated_checkpoint(
    refused: Callable[..., str], good: Path, models: Path, tmp_path: Path, size: int
) -> None:
    """A checkpoint that was cut off anywhere is refused by name."""
    (tmp_path / "cut.pt").write_bytes((models / "amn.pt").read_bytes()[:size])
    assert "cut.pt" in refused(good, "--model", tmp_path / "cut.pt")


def test_a_checkpoint_that_would_run_code(refused: Callable[..., str], good: Path, tmp_path: Path) -> None:
    """A checkpoint with a pickle payload is refused, and none of its code runs."""

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"model_state_dict": {}, "args": Payload()}, tmp_path / "evil.pt")
    assert "evil.pt" in refused(good, "--model", tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


def test_no_model_at_all(lvm_batch: Callable[..., Any], good: Path, tmp_path: Path) -> None:
    """Without --model and without the role, the error names the places that were searched."""
    result = lvm_batch("run", good, "--output", tmp_path / "out", "--models-dir", tmp_path / "models")
    assert result.code == 2
    assert "production_model" in result.values["error"]["message"]


def test_a_bank_of_another_dimension(refused: Callable[..., str], good: Path, tmp_path: Path) -> None:
    """A bank whose dimension differs from the model's is refused with both dimensions."""
    other = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(512 * 3, "f4")), 512)
    pq.write_table(pa.table({"vector": other}), tmp_path / "v.parquet")
    build_bank(find_files([str(tmp_path / "v.parquet")]), str(tmp_path / "bank"))
    text = refused(good, "--bank", tmp_path / "bank")
    assert "512" in text
    assert "768" in text


def test_a_file_that_is_no_bank(refused: Callable[..., str], good: Path, tmp_path: Path) -> None:
    """A Parquet file given as a bank is refused with the command that builds one."""
    pq.write_table(pa.table({"vector": vectors()[:3].tolist()}), tmp_path / "v.parquet")
    assert "lvm-batch bank build" in refused(good, "--bank", tmp_path / "v.parquet")


@pytest.mark.parametrize("output", ["good", "good/out", "."])
def test_an_output_inside_the_input_or_around_it(
    refused: Callable[..., str], good: Path, output: str
) -> None:
    """The next run would read these predictions, or their reader would read this run's input."""
    assert "is inside" in refused(good.parent, output=output)


def test_an_output_that_a_pattern_would_read(refused: Callable[..., str], good: Path) -> None:
    """A glob that matches the run's own output is refused before anything is written."""
    assert "is inside" in refused(f"{good.parent.parent}/**/*.parquet", output="predictions")


def test_an_output_with_something_else_in_it(refused: Callable[..., str], good: Path, tmp_path: Path) -> None:
    """Predictions are not mixed with files from elsewhere."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/other.parquet").touch()
    assert "other.parquet" in refused(good)


def test_two_inputs_with_one_name(refused: Callable[..., str], good: Path, tmp_path: Path) -> None:
    """Files whose outputs would have the same name are refused, and both are named."""
    other = write_windows(tmp_path / "other/a.parquet", windows()[0][:5])
    text = refused(good, other)
    assert str(good) in text
    assert str(other) in text


def test_several_problems_are_reported_at_once(
    refused: Callable[..., str], good: Path, tmp_path: Path
) -> None:
    """Problems with inputs, models and bank are reported together."""
    text = refused(tmp_path / "nowhere", "--model", tmp_path / "no.pt", "--bank", tmp_path / "no-bank")
    assert "nowhere" in text
    assert "no.pt" in text
    assert "no-bank" in text


def test_another_run_over_the_same_output(
    lvm_batch: Callable[..., Any], predict: Callable[..., Any], good: Path, tmp_path: Path
) -> None:
    """While one run writes, a second one exits with 75."""
    from lvm_batch.io.output.lock import lock_output

    with lock_output(str(tmp_path / "out")):
        result = predict(good, "--output", tmp_path / "out")
        assert (result.code, result.values["error"]["kind"]) == (75, "locked")


def test_an_unreachable_scheduler(
    predict: Callable[..., Any], good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler that does not answer ends the run with 75, and the error names its address."""
    monkeypatch.setattr("lvm_batch.jobs.clusters.scheduler.Scheduler.wait_s", 1)
    result = predict(good, "--output", tmp_path / "out", "--scheduler", "tcp://127.0.0.1:1")
    assert (result.code, result.values["error"]["kind"]) == (75, "try_again")
    assert "127.0.0.1:1" in result.values["error"]["message"]


def test_a_plan_refuses_what_a_run_refuses(
    lvm_batch: Callable[..., Any], good: Path, models: Path, tmp_path: Path
) -> None:
    """A plan refuses a foreign output with the same words, and an address that is not on this machine."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/theirs.parquet").touch()
    arguments = (good, "--output", tmp_path / "out", "--model", models / "amn.pt", "--workers", 1)
    planned, ran = lvm_batch("plan", *arguments), lvm_batch("run", *arguments)
    assert planned.values["refusal"]["message"] == ran.values["error"]["message"]
    assert not any(unit["done"] for unit in planned.values["units"])
    pytest.importorskip("bokeh", reason='pip install "lvm-batch[dashboard]"')
    for command in ("plan", "run"):
        refused = lvm_batch(command, *arguments, "--dashboard", "203.0.113.1:0")
        assert (refused.code, refused.values["error"]["kind"]) == (2, "usage")


def test_models_are_found_from_any_folder(
    good: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers may run in another folder than the command, so the error says what a relative path is relative to."""
    monkeypatch.chdir(models)
    settings = RunSettings(
        dataset=(str(good),), output=str(tmp_path / "out"), model="amn.pt", fallback="gru.pt", device="cpu"
    )
    plan = make_plan(settings, threads=1)
    monkeypatch.chdir(tmp_path)
    assert load_cascade(plan.job.models)


@pytest.fixture
def narrow(tmp_path: Path) -> Path:
    """A model for vectors of 64."""
    path = tmp_path / "narrow.pt"
    model = AttentionMixtureNetwork(input_dim=64)
    save_checkpoint(path, model, architecture="amn", epoch=1, val_loss=0.5, val_cosine=0.5)
    return path


@pytest.mark.parametrize("encoding", ["fixed_size_list", "binary"])
def test_contexts_of_another_width_than_the_models(
    lvm_batch: Callable[..., Any], narrow: Path, tmp_path: Path, encoding: str
) -> None:
    """Five vectors of 768 are not sixty of 64: such a model is refused before any row is read."""
    path = write_windows(tmp_path / "in.parquet", windows()[0][:20], encoding=encoding)
    result = lvm_batch("run", path, "--output", tmp_path / "out", "--model", narrow)
    assert (result.code, result.values["error"]["kind"]) == (2, "columns")
    assert "model reads vectors of 64" in " ".join(result.values["error"].values())
    assert str(path) in result.values["error"]["message"]


def test_lists_without_a_vector_width(lvm_batch: Callable[..., Any], narrow: Path, tmp_path: Path) -> None:
    """A schema without widths cannot contradict the model: a notice states the width that is assumed."""
    path = write_windows(tmp_path / "in.parquet", windows()[0][:20], encoding="list")
    planned = lvm_batch("plan", path, "--output", tmp_path / "out", "--model", narrow)
    assert any("read as vectors of 64" in notice for notice in planned.values["notices"])


def test_a_row_group_with_a_negative_row_count(refused: Callable[..., str], good: Path) -> None:
    """A footer with a negative row count is refused by name."""
    footer = thrift.read_footer(good)
    thrift.put(footer[4][1][1][0], 3, -20)
    good.write_bytes(thrift.with_footer(good, footer))
    assert "a.parquet cannot be read as Parquet, its footer: row group 0 has -20 rows" in refused(good)


@pytest.mark.parametrize("kind", [pa.float16(), pa.list_(pa.int8())])
def test_article_ids_that_cannot_be_compared(
    refused: Callable[..., str], tmp_path: Path, kind: pa.DataType
) -> None:
    """The error says which types an article id may have."""
    rows = sample().slice(0, 9).select(["vector", "position"])
    ids = pa.array(np.zeros(9, "f2")) if kind == pa.float16() else pa.array([[1]] * 9, kind)
    pq.write_table(rows.append_column("article_id", ids), tmp_path / "in.parquet")
    assert "`article_id` is" in (text := refused(tmp_path / "in.parquet"))
    assert "must hold strings or integers" in text


@pytest.mark.parametrize("output", ["x" * 300, "/".join(["y" * 200] * 21)])
def test_an_output_folder_of_a_name_too_long(
    predict: Callable[..., Any], good: Path, tmp_path: Path, output: str
) -> None:
    """An output folder whose own name or path is too long is refused, too."""
    result = predict(good, "--output", tmp_path / output)
    assert (result.code, result.values["error"]["kind"]) == (2, "output")
    assert "too long" in result.values["error"]["message"]
    assert [path.name for path in tmp_path.iterdir()] == ["good"]


def test_very_many_bad_files(
    lvm_batch: Callable[..., Any], capsys: pytest.CaptureFixture[str], models: Path, tmp_path: Path
) -> None:
    """The error names ten and counts the others; with --json it names a hundred."""
    (tmp_path / "in").mkdir()
    for number in range(130):
        (tmp_path / f"in/{number:03d}.parquet").write_bytes(b"junk")
    arguments = ["plan", tmp_path / "in", "--output", tmp_path / "out", "--model", models / "amn.pt"]
    error = lvm_batch(*arguments).values["error"]
    assert "130 problems" in error["message"]
    assert (len(error["problems"]), error["n_problems"]) == (100, 130)
    assert main(list(map(str, arguments))) == 2
    lines = capsys.readouterr().err.splitlines()
    assert sum("cannot be read as Parquet" in line for line in lines) == 10
    assert lines[-1] == "and 120 more; --json lists up to 100"


def test_very_many_files_left_out(
    lvm_batch: Callable[..., Any], good: Path, models: Path, tmp_path: Path
) -> None:
    """Notices name the first ten files that are left out, and count the others."""
    for number in range(15):
        (good.parent / f"b{number:02d}.parquet").write_bytes(b"junk")
    arguments = ("plan", good.parent, "--output", tmp_path / "out", "--model", models / "amn.pt")
    notices = lvm_batch(*arguments, "--on-bad-file", "skip").values["notices"]
    assert sum(notice.startswith("left out: ") for notice in notices) == 11
    assert "left out: 5 files more" in notices


def test_files_that_cannot_be_read_together_are_reported(
    lvm_batch: Callable[..., Any], models: Path, tmp_path: Path
) -> None:
    """Two column types without a common type that holds every value are reported before work begins."""
    for name, ids in (("a", [1, 2]), ("b", [1, 2]), ("c", [0.5, None])):
        write_windows(tmp_path / f"in/{name}.parquet", windows()[0][:2], columns={"id": ids})
    arguments = ("plan", tmp_path / "in", "--output", tmp_path / "out", "--model", models / "amn.pt")
    [notice] = [text for text in lvm_batch(*arguments).values["notices"] if "read_predictions" in text]
    assert "c.parquet does not match" in notice
    assert "`id` is double in the one and int64 in the other" in notice
    (tmp_path / "in/c.parquet").unlink()
    assert not any("read_predictions" in text for text in lvm_batch(*arguments).values["notices"])


def test_an_output_that_is_no_folder(good: Path, tmp_path: Path) -> None:
    """A file, a pipe or a device in its place is reported before any work, by a plan too."""
    os.mkfifo(tmp_path / "pipe")
    for output in (good, tmp_path / "pipe", "/dev/null"):
        settings = RunSettings(dataset=(str(good),), output=str(output), model="nowhere")
        with pytest.raises(SettingsError) as caught:
            make_plan(settings, threads=1)
        assert any("is a file" in problem.message for problem in caught.value.problems)
