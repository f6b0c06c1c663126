"""`lvm-batch inspect` has an answer for every file: what it holds, what a run would refuse, and what to do next."""

from __future__ import annotations

import gzip
import json
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.datasets import sample

from lvm_batch.io.bank.bank import build_bank
from lvm_batch.io.dataset.files import find_files
from lvm_batch.jobs.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

DIM = 8
LISTS = pa.list_(pa.float32())


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands are called from an empty folder: models and banks in the usual places are the test's own."""
    monkeypatch.chdir(tmp_path)


def vectors(n_rows: int, dim: int = DIM, *, missing: Iterable[int] = ()) -> pa.Array:
    """Unit vectors, null in the rows ``missing``."""
    rows = np.random.default_rng(n_rows).normal(size=(n_rows, dim))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return pa.array([None if row in set(missing) else rows[row].tolist() for row in range(n_rows)], LISTS)


def write(
    path: Path,
    n_rows: int = 30,
    *,
    dim: int = DIM,
    missing: Iterable[int] = (),
    **columns: Any,  # noqa: ANN401
) -> Path:
    """Write a column `embedding` and others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = {**columns, "embedding": vectors(n_rows, dim, missing=missing)}
    pq.write_table(pa.table(table), path)
    return path


def chunks(n_articles: int, n_rows: int) -> dict[str, list[int]]:
    """Ids and positions of articles of as many rows each."""
    return {
        "doc_id": [article for article in range(n_articles) for _ in range(n_rows)],
        "chunk_index": list(range(n_rows)) * n_articles,
    }


def inspected(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    """The JSON of a successful `lvm-batch inspect`."""
    assert main(["inspect", *map(str, arguments), "--json"]) == 0
    values: dict[str, Any] = json.loads(capsys.readouterr().out)
    return values


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The text of a successful `lvm-batch inspect`."""
    assert main(["inspect", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def commands(values: dict[str, Any]) -> list[str]:
    """The commands to paste."""
    return [step["command"] for step in values["commands"]]


def messages(values: dict[str, Any]) -> str:
    """All problems, a line each."""
    return "\n".join(problem["message"] for problem in values["problems"])


def test_columns_by_other_names_are_found_and_the_commands_are_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Columns are found by their types and names, and the commands lead from the dataset to its predictions."""
    write(tmp_path / "my data/a.parquet", 60, **chunks(6, 10))
    values = inspected(capsys, "my data")
    parts = {part: found["column"] for part, found in values["parts"].items() if found["column"]}
    assert parts == {"vector": "embedding", "article": "doc_id", "position": "chunk_index"}
    assert (values["shape"], values["order"]["windows"]) == ({"length": 5, "dim": DIM}, 36)
    assert values["schema"][0] == {"name": "doc_id", "types": ["int64"], "files": 1}
    assert commands(values) == [
        "lvm-batch train 'my data' --arch amn --output artifacts/lvm/models/amn",
        "lvm-batch bank build 'my data' --vector-column embedding --output 'my data-bank'",
        (
            "lvm-batch run 'my data' --model artifacts/lvm/models/amn --bank 'my data-bank' "
            "--output 'my data-predictions'"
        ),
        "lvm-batch show 'my data-predictions'",
    ]
    assert values["problems"] == []


def test_rows_out_of_order_are_sorted_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A shuffled dataset is described all the same, and the first command puts its rows in order."""
    order = np.random.default_rng(0).permutation(60)
    for shard in range(3):
        mine = order[shard::3]
        columns = {name: np.array(column)[mine] for name, column in chunks(4, 15).items()}
        write(tmp_path / f"in/{shard}.parquet", len(mine), **columns)
    values = inspected(capsys, "in")
    disorder = values["order"]["disorder"]
    assert (disorder["n_files"], values["order"]["articles"]) == (3, 4)
    assert "out of order" in messages(values)
    assert values["cut_articles"]["in_several_files"] == 4
    assert values["sample"]["by_status"] == {"ok": 60, "short_context": 0, "bad_input": 0}
    assert commands(values)[:2] == [
        (
            "lvm-batch pack in --vector-column embedding --article-column doc_id --position-column chunk_index "
            "--sort --output in-sorted"
        ),
        "lvm-batch train in-sorted --arch amn --output artifacts/lvm/models/amn",
    ]


def test_articles_that_go_on_in_another_file_are_made_whole_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cut articles cost is counted, and the first command makes them whole."""
    columns = chunks(2, 20)
    for number, rows in enumerate((slice(0, 25), slice(25, 40))):
        part = {name: column[rows] for name, column in columns.items()}
        write(tmp_path / f"in/{number}.parquet", len(part["doc_id"]), **part)
    values = inspected(capsys, "in")
    assert values["cut_articles"]["articles"] == values["cut_articles"]["in_several_files"] == 1
    assert values["cut_articles"]["rows_of_short_context"] == 4
    assert "--sort" in commands(values)[0]


def test_without_articles_each_file_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no column tells articles, each file is taken for one in its order, and the flags say so."""
    for name in "ab":
        write(tmp_path / f"in/{name}.parquet", 12, text=["x"] * 12)
    values = inspected(capsys, "in")
    assert values["parts"]["article"] == {"column": "@file", "candidates": [], "found": "stand-in"}
    assert (values["order"]["articles"], values["order"]["windows"]) == (2, 16)
    assert (
        commands(values)[0]
        == "lvm-batch train in --article-column @file --position-column @row --arch amn --output "
        "artifacts/lvm/models/amn"
    )
    assert "@file" not in values["carried"]
    assert any("each file is taken as one article" in notice for notice in values["notices"])


def test_one_article_alone_makes_a_bank(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model cannot be trained on a few windows of one article, which is said; the vectors still make a bank."""
    write(tmp_path / "a.parquet", 12, text=["x"] * 12)
    values = inspected(capsys, "a.parquet")
    assert commands(values) == ["lvm-batch bank build a.parquet --vector-column embedding --output a-bank"]
    assert "there is too little to train on: less than 50 windows, of one article" in messages(values)
    write(tmp_path / "long.parquet", 80, text=["x"] * 80)
    assert " train long.parquet " in commands(inspected(capsys, "long.parquet"))[0]


def test_several_candidates_are_all_named_and_the_first_is_described(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two columns of vectors are a problem with both flags; the commands hold the first choice."""
    columns = {**chunks(3, 10), "title_embedding": vectors(30), "body_embedding": vectors(30)}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    values = inspected(capsys, "a.parquet")
    [problem] = values["problems"]
    assert "--vector-column title_embedding" in problem["hint"]
    assert "--vector-column body_embedding" in problem["hint"]
    assert values["parts"]["vector"]["found"] == "first of several"
    assert "--vector-column title_embedding" in commands(values)[0]
    chosen = inspected(capsys, "a.parquet", "--vector-column", "body_embedding")
    assert (chosen["problems"], chosen["parts"]["vector"]["found"]) == ([], "option")
    assert "--vector-column body_embedding" in commands(chosen)[0]


def test_bad_vectors_fail_the_gate_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bad vector spoils every window that holds it; the share, the limit and a limit that suffices are told."""
    write(tmp_path / "a.parquet", 200, missing=(20, 60), **chunks(4, 50))
    values = inspected(capsys, "a.parquet")
    assert values["gate"] == {
        "max_bad_rows": 0.01,
        "bad_rows": 10,
        "rows": 200,
        "share": 0.05,
        "is_whole": True,
        "fails": True,
    }
    assert "a run would fail at the end: 10 of 200 rows are bad" in messages(values)
    assert any("--max-bad-rows 0.06" in command for command in commands(values))
    allowed = inspected(capsys, "a.parquet", "--max-bad-rows", 0.05)
    assert (allowed["gate"]["fails"], allowed["problems"]) == (False, [])


def test_names_of_output_columns_are_renamed_in_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Carried columns that are called like the output's do not stop the description; the command renames them."""
    write(tmp_path / "a.parquet", 30, status=["x"] * 30, Cosine=[1.0] * 30, **chunks(3, 10))
    values = inspected(capsys, "a.parquet")
    assert "`status` and `Cosine` have the names of columns that a run adds" in messages(values)
    run = next(command for command in commands(values) if " run " in command)
    assert "--rename status=source_status --rename Cosine=source_Cosine" in run


def test_a_folder_of_hugging_face(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Other files in a folder are counted, not read, and the description goes on."""
    for shard in range(2):
        columns = {"doc_id": [f"doc-{shard}"] * 12, "chunk_index": range(12)}
        write(tmp_path / f"hf/data/train-0000{shard}-of-00002.parquet", 12, **columns)
    (tmp_path / "hf/README.md").write_text("---\nlicense: mit\n---\n")
    (tmp_path / "hf/dataset_info.json").write_text("{}")
    values = inspected(capsys, "hf")
    assert (values["files"], values["not_read"]) == (2, ["README.md", "dataset_info.json"])
    assert values["notices"][0] == "2 other files are not read: README.md, dataset_info.json"
    assert commands(values)


def test_a_damaged_file_is_named_and_the_rest_described(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files that a run refuses are problems; the commands read the good ones."""
    write(tmp_path / "in/a.parquet", 30, **chunks(3, 10))
    for name in "bc":
        (tmp_path / f"in/{name}.parquet").write_bytes(b"no Parquet at all")
    pq.write_table(pa.table({"id": [1]}), tmp_path / "in/d.parquet")
    values = inspected(capsys, "in")
    assert values["damaged"] == [f"{tmp_path}/in/b.parquet", f"{tmp_path}/in/c.parquet"]
    assert values["refused"] == [f"{tmp_path}/in/d.parquet"]
    assert (values["files"], values["rows"]) == (4, 31)
    assert "(in 2 of 4 files)" in messages(values)
    assert len(values["problems"]) == 2
    assert not any("lvm-batch inspect" in problem["hint"] for problem in values["problems"])
    assert commands(values)[0].startswith("lvm-batch train in/a.parquet ")


def test_files_that_collide_are_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two files that would write to one output, or one given twice, are a problem, not the end."""
    path = write(tmp_path / "a.parquet", 30, **chunks(3, 10))
    shutil.copy(path, tmp_path / "a.pq")
    values = inspected(capsys, "a.parquet", "a.pq")
    assert (values["files"], "would both write to" in messages(values)) == (2, True)
    values = inspected(capsys, "a.parquet", "a.parquet")
    assert (values["files"], "is given twice" in messages(values)) == (1, True)


@pytest.mark.parametrize("dim", [None, 4])
def test_files_without_rows_are_described(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], dim: int | None
) -> None:
    """An empty file has columns, no rows, no commands; that it is empty is a problem."""
    kind = LISTS if dim is None else pa.list_(pa.float32(), dim)
    columns = {
        "doc_id": pa.array([], pa.int64()),
        "n": pa.array([], pa.int64()),
        "vector": pa.array([], kind),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    values = inspected(capsys, "a.parquet")
    assert (values["rows"], commands(values), messages(values)) == (0, [], "there are no rows")


def test_null_columns_play_no_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A column of type null is listed, and counts as absent."""
    columns = {**chunks(3, 10), "lane": pa.nulls(30), "vector": pa.nulls(30)}
    write(tmp_path / "a.parquet", 30, **columns)
    values = inspected(capsys, "a.parquet")
    assert {"name": "lane", "types": ["null"], "files": 1} in values["schema"]
    assert (values["parts"]["lane"]["column"], values["parts"]["vector"]["column"]) == (None, "embedding")


def test_no_vectors_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of texts is described; the problem is that no column holds vectors, whatever the columns are called."""
    pq.write_table(pa.table({"id": [1], "context": ["a text"]}), tmp_path / "a.parquet")
    values = inspected(capsys, "a.parquet")
    assert [column["name"] for column in values["schema"]] == ["id", "context"]
    assert messages(values).startswith("no column holds vectors")
    assert (values["shape"], commands(values)) == (None, [])


def test_columns_in_folder_names_play_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What folders give is a column like any other; other folders' columns are listed."""
    for lane in ("news", "sci-fact"):
        folder = tmp_path / f"in/date=2026-01-01/lane={lane}/article_id={lane}"
        write(folder / "part-0.parquet", 12, position=range(12))
    values = inspected(capsys, "in")
    parts = {part: found["column"] for part, found in values["parts"].items()}
    assert (parts["lane"], parts["article"]) == ("lane", "article_id")
    assert {"name": "date", "types": ["in folder names"], "files": 2} in values["schema"]


@pytest.mark.parametrize(
    "kind",
    [
        pa.large_list(pa.float64()),
        pa.list_view(pa.float32()),
        pa.list_(pa.float16(), DIM),
        pa.binary(4 * DIM),
        pa.binary(),
    ],
    ids=str,
)
def test_vectors_of_every_type_are_measured(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: Any,  # noqa: ANN401
) -> None:
    """The width follows from the type or from the first rows."""
    rows = np.array(vectors(30).to_pylist(), np.float32)
    is_bytes = pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind)
    values = [row.tobytes() if is_bytes else row.tolist() for row in rows]
    pq.write_table(pa.table({**chunks(3, 10), "embedding": pa.array(values, kind)}), tmp_path / "a.parquet")
    found = inspected(capsys, "a.parquet")
    assert (found["shape"]["dim"], found["sample"]["by_status"]["bad_input"]) == (DIM, 0)
    assert len(found["vectors"]) == 1


def test_windows_of_another_length_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The length of contexts is told, and the command trains a model for it."""
    rows = np.array(vectors(60).to_pylist(), np.float32)
    contexts = pa.array(rows[np.arange(50)[:, None] + np.arange(3)].tolist(), pa.list_(LISTS))
    table = {"context": contexts, "target": pa.array(rows[3:53].tolist(), LISTS)}
    pq.write_table(pa.table(table), tmp_path / "w.parquet")
    values = inspected(capsys, "w.parquet")
    assert (values["layouts"], values["shape"]) == (["windows"], {"length": 3, "dim": DIM})
    train, bank, run, _ = commands(values)
    assert "--context-length 3" in train
    assert bank == "lvm-batch bank build w.parquet --vector-column target --output w-bank"
    assert run.startswith("lvm-batch run w.parquet ")


@pytest.mark.slow
def test_models_that_fit_are_at_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model that fits is taken and none is trained; one with a role needs no flag, one of another width is told."""
    from lvm_batch.lvm import AttentionMixtureNetwork, save_checkpoint

    write(tmp_path / "a.parquet", 30, **chunks(3, 10))
    folder = tmp_path / "artifacts/lvm/models"
    for name, dim in (("mine", DIM), ("wide", 4)):
        (folder / name).mkdir(parents=True)
        model = AttentionMixtureNetwork(dim)
        options = {"architecture": "amn", "epoch": 1, "val_loss": None, "val_cosine": None}
        save_checkpoint(folder / name / "best_model.pt", model, **options)
    values = inspected(capsys, "a.parquet")
    assert [(model["name"], model["dim"], model["fits"]) for model in values["models"]] == [
        ("mine", DIM, True),
        ("wide", 4, False),
    ]
    assert not any(" train " in command for command in commands(values))
    assert "--model mine" in commands(values)[1]
    role = tmp_path / "artifacts/lvm/production_model"
    role.symlink_to("models/mine")
    assert "--model" not in commands(inspected(capsys, "a.parquet"))[1]
    role.unlink()
    role.symlink_to("models/wide")
    values = inspected(capsys, "a.parquet")
    assert "production_model (wide) takes vectors of 4, the dataset has vectors of 8" in messages(values)
    assert "--model mine" in commands(values)[1]


def test_banks_that_fit_are_at_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bank of the same width is taken; one of another is listed and does not fit."""
    write(tmp_path / "a.parquet", 30, **chunks(3, 10))
    write(tmp_path / "other.parquet", 30, dim=4)
    for name in ("a", "other"):
        files = find_files([str(tmp_path / f"{name}.parquet")])
        build_bank(files, f"{name}-bank", vector_column="embedding")
    values = inspected(capsys, "a.parquet")
    assert [(bank["path"], bank["dim"], bank["fits"]) for bank in values["banks"]] == [
        ("a-bank", DIM, True),
        ("other-bank", 4, False),
    ]
    assert not any("bank build" in command for command in commands(values))
    assert any("--bank a-bank" in command for command in commands(values))


def test_arrays_and_json_lines_are_packed_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What other formats hold is told from their beginning, with the command that makes Parquet of them."""
    rows = np.ones((5, DIM), np.float32)
    np.save(tmp_path / "x.npy", rows)
    np.savez(tmp_path / "x.npz", embeddings=rows, doc_ids=np.arange(5))
    line = json.dumps({"doc": "a", "n": 1, "embedding": [0.5] * DIM}) + "\n"
    (tmp_path / "x.jsonl").write_text(line * 5)
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(line.encode()))
    holds = {
        "x.npy": f"5 x {DIM} float32",
        "x.npz": f"embeddings: 5 x {DIM} float32, doc_ids: 5 int64",
        "x.jsonl": f"doc: text, n: whole number, embedding: {DIM} numbers",
        "x.jsonl.gz": f"doc: text, n: whole number, embedding: {DIM} numbers",
    }
    for name, text in holds.items():
        values = inspected(capsys, name)
        [file] = values["other_formats"]
        assert (values["files"], file["holds"], file["packable"]) == (0, text, True)
        pack, look = map(shlex.split, commands(values))
        assert pack[:3] == ["lvm-batch", "pack", name]
        assert look == ["lvm-batch", "inspect", pack[-1]]


def test_other_formats_have_a_way_to_parquet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A format that nothing here reads is named, with what to do."""
    (tmp_path / "x.csv").write_text("id,text,embedding\n")
    (tmp_path / "x.feather").write_bytes(b"ARROW1")
    csv, feather = inspected(capsys, "x.csv", "x.feather")["other_formats"]
    assert (csv["format"], csv["holds"], csv["packable"]) == ("CSV", "id, text, embedding", False)
    assert "write it as Parquet" in csv["hint"]
    assert "a.ipc.open_" in feather["hint"]


def test_a_folder_of_arrays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder without Parquet, but with arrays, is packed; one with nothing to read is an error."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/README.md").write_text("hello")
    assert main(["inspect", "in"]) == 2
    assert "has no files to read" in capsys.readouterr().err
    for name in ("in/embeddings.npy", "lines/part-0.jsonl.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / "x.npy", np.ones((5, DIM)))
        lines = gzip.compress(b'{"embedding": [1.0]}\n')
        (tmp_path / name).write_bytes(lines if name.endswith(".gz") else (tmp_path / "x.npy").read_bytes())
    for folder in ("in", "lines"):
        assert commands(inspected(capsys, folder))[0] == f"lvm-batch pack {folder} --output {folder}-packed"


def test_what_is_not_there_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a file to look at there is no answer."""
    assert main(["inspect", "nowhere"]) == 2
    assert "nowhere does not exist" in capsys.readouterr().err


def test_lines_fit_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No line is longer than 80 columns but those of commands, which stay whole."""
    pq.write_table(sample().slice(0, 100), tmp_path / "a.parquet")
    write(tmp_path / "shuffled.parquet", 30, doc_id=[1] * 30, chunk_index=list(range(29, -1, -1)))
    for name in ("a.parquet", "shuffled.parquet"):
        lines = told(capsys, name).splitlines()
        assert not [line for line in lines if len(line) > 80 and "lvm-batch " not in line]
        assert [line for line in lines if line.startswith("  lvm-batch ")]


def test_articles_within_a_struct_are_named_and_not_joined(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where `metadata.doc_id` may tell articles apart, whole files are not proposed as articles."""
    metadata = pa.array([{"doc_id": f"d{n // 10}", "page": n} for n in range(30)])
    pq.write_table(pa.table({"metadata": metadata, "embedding": vectors(30)}), tmp_path / "a.parquet")
    values = inspected(capsys, "a.parquet")
    assert any("`metadata.doc_id` may" in problem["message"] for problem in values["problems"])
    assert [step for step in commands(values) if step.split()[1] in {"train", "run"}] == []


def test_what_stands_in_for_columns_becomes_columns_when_sorted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once `pack --sort` has written a file's name as the article, the later commands name no stand-in."""
    for name in "ab":
        write(tmp_path / f"in/{name}.parquet", 12, pos=[3, 2, *range(4, 14)])
    pack, train, *_ = commands(inspected(capsys, "in"))
    assert "--article-column @file --position-column pos --sort" in pack
    assert "@file" not in train


def test_another_column_of_vectors_has_commands_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where two columns can be the vector, both ways can be pasted, each with its own width."""
    columns = {**chunks(3, 10), "title_embedding": vectors(30), "body_embedding": vectors(30, 4)}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    [other] = inspected(capsys, "a.parquet")["alternatives"]
    assert other["column"] == "body_embedding"
    assert other["commands"][0]["purpose"] == "a model for vectors of 4: none fits, and no weights ship"
    assert "--vector-column body_embedding" in other["commands"][0]["command"]
    assert "or, with `body_embedding`" in told(capsys, "a.parquet")


def test_positions_that_begin_anew_within_a_file_are_not_sorted_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of several texts, which no known column tells apart, is not taken for one article and sorted."""
    write(tmp_path / "a.parquet", 30, whose=["x"] * 30, chunk_index=[*range(10)] * 3)
    values = inspected(capsys, "a.parquet")
    assert "`chunk_index` starts again within files" in messages(values)
    assert [command.split()[1] for command in commands(values)] == ["bank"]


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"reply": [{"values": [0.5] * DIM}]}, "`reply` is a struct, whose `values` is not read"),
        ({"embedding": ["[0.5, 0.25]"]}, "`embedding` is string, a text"),
        ({"embedding": pa.array([[1] * DIM], pa.list_(pa.int8()))}, "list<element: int8>, whole numbers"),
        ({f"dim_{n}": [0.5] for n in range(DIM)}, f"`dim_0` to `dim_7` are {DIM} columns"),
    ],
)
def test_vectors_in_a_form_that_is_not_read_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], columns: dict[str, Any], text: str
) -> None:
    """What seems to hold vectors is named with the reason why it cannot be read."""
    pq.write_table(pa.table({"doc_id": [1], **columns}), tmp_path / "a.parquet")
    assert text in messages(inspected(capsys, "a.parquet"))


def test_outputs_do_not_lie_in_the_dataset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From inside the dataset's folder, what comes next is written beside it."""
    write(tmp_path / "in/deep/a.parquet", 30, **chunks(3, 10))
    monkeypatch.chdir(tmp_path / "in/deep")
    for argument, outside in ((".", "../deep"), ("..", "../../in"), ("../**/*.parquet", "../../in")):
        outputs = [shlex.split(line)[-1] for line in commands(inspected(capsys, argument))]
        assert outputs == [f"{outside}-{what}" for what in ("model", "bank", "predictions", "predictions")]


@pytest.mark.parametrize("name", ["my [final] (2026)", "a'b", "x.y"])
def test_paths_are_quoted(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Whatever characters a path has, the commands name it whole, and outputs are named after it."""
    write(tmp_path / f"{name}/a.parquet", 30, **chunks(3, 10))
    train, bank, *_ = map(shlex.split, commands(inspected(capsys, name)))
    assert (train[2], bank[3], bank[-1]) == (name, name, f"{name}-bank")


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_the_way_from_arrow_to_parquet_works_as_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """Feather writes files, Hugging Face's save_to_disk streams: each has a line that reads it."""
    table = pa.table({**chunks(3, 10), "embedding": vectors(30)})
    make = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
    with make(str(tmp_path / "data.arrow"), table.schema) as writer:
        writer.write_table(table)
    (other,) = inspected(capsys, "data.arrow")["other_formats"]
    python, *arguments = shlex.split(other["hint"])
    assert python == "python"
    subprocess.run([sys.executable, *arguments], check=True, cwd=tmp_path)
    assert pq.read_table(tmp_path / "data.parquet").equals(table)
