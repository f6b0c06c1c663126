"""Columns are found by the names and types that people use, and two that can play one part are an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lvm_batch.io.dataset.files import find_files
from lvm_batch.io.discovery.bank_columns import find_bank_columns
from lvm_batch.io.discovery.find_columns import find_columns
from lvm_batch.io.discovery.messages import found_notice
from lvm_batch.io.errors import AmbiguousColumns
from lvm_batch.io.schema import WindowShape

if TYPE_CHECKING:
    from pathlib import Path

    from lvm_batch.io.discovery.found_columns import FoundColumns

N = 12


def vectors(width: int, kind: Any = None) -> pa.Array:  # noqa: ANN401
    """Rows of ``width`` floats, as lists of any length unless another type is wanted."""
    rows = np.arange(N * width, dtype=np.float64).reshape(N, width)
    return pa.array(rows.tolist(), kind or pa.list_(pa.float32()))


def found(folder: Path, columns: dict[str, Any], given: dict[str, str] | None = None) -> FoundColumns:
    """What is found in a dataset of one file."""
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), folder / "part.parquet")
    return find_columns(find_files([str(folder)]), given or {})


DOCS = pa.array([f"doc-{number // 4}" for number in range(N)])
NUMBERS = pa.array(range(N), pa.int64())
TEXTS = pa.array(["a sentence"] * N)


@pytest.mark.parametrize(
    ("columns", "taken"),
    [
        (
            {"doc_id": DOCS, "chunk_index": NUMBERS, "text": TEXTS, "embedding": vectors(8)},
            {"vector": "embedding", "article": "doc_id", "position": "chunk_index"},
        ),
        (
            {"documentId": DOCS, "chunkId": NUMBERS, "n_tokens": NUMBERS, "emb": vectors(8)},
            {"vector": "emb", "article": "documentId", "position": "chunkId", "tokens": "n_tokens"},
        ),
        (
            {"Doc ID": DOCS, "Sentence Index": NUMBERS, "floats": vectors(8)},
            {"vector": "floats", "article": "Doc ID", "position": "Sentence Index"},
        ),
        (
            {"doc_ids": DOCS, "chunk_indices": NUMBERS, "vectors": vectors(8)},
            {"vector": "vectors", "article": "doc_ids", "position": "chunk_indices"},
        ),
        (
            {"payload.doc_id": DOCS, "url": TEXTS, "title": TEXTS, "seq": NUMBERS, "vector": vectors(8)},
            {"article": "payload.doc_id", "position": "seq"},
        ),
        (
            {"id": DOCS, "chunk": NUMBERS, "vec": vectors(8)},
            {"vector": "vec", "article": "id", "position": "chunk"},
        ),
        ({"id": NUMBERS, "text": TEXTS, "embedding": vectors(8)}, {"vector": "embedding", "position": "id"}),
        (
            {"article_id": DOCS, "position": NUMBERS, "chunk_id": NUMBERS, "vector": vectors(8)},
            {},
        ),
    ],
)
def test_the_only_column_that_can_play_a_part_plays_it(
    tmp_path: Path, columns: dict[str, Any], taken: dict[str, str]
) -> None:
    """A column of the usual name wins; else the surest name that people use; a unique id is no article."""
    result = found(tmp_path / "data", columns)
    assert (result.layout, dict(result.taken)) == ("sequences", taken)
    assert result.shape == WindowShape(dim=8)
    assert {getattr(result.names, part) for part in taken} == set(taken.values())


@pytest.mark.parametrize(
    ("columns", "taken", "shape"),
    [
        ({"contexts": vectors(40)}, {"context": "contexts"}, (5, 8)),
        ({"context": vectors(40), "next_vector": vectors(10)}, {"target": "next_vector"}, (4, 10)),
        (
            {"history": pa.array([[[1.0] * 6] * 3] * N), "target": vectors(6), "tokens": NUMBERS},
            {"context": "history", "context_tokens": "tokens"},
            (3, 6),
        ),
        ({"context": TEXTS, "window_vectors": vectors(40)}, {"context": "window_vectors"}, (5, 8)),
    ],
)
def test_windows_are_found_and_measured(
    tmp_path: Path, columns: dict[str, Any], taken: dict[str, str], shape: tuple[int, int]
) -> None:
    """Contexts are nested lists, or flat ones with such a name; the target says how wide a flat one's vectors are."""
    result = found(tmp_path / "data", columns)
    assert (result.layout, dict(result.taken), result.shape) == ("windows", taken, WindowShape(*shape))


@pytest.mark.parametrize(
    ("columns", "part", "column"),
    [
        ({"DOCUMENT_ID": DOCS, "CHUNK_INDEX": NUMBERS.cast(pa.decimal128(38, 0))}, "position", "CHUNK_INDEX"),
        ({"doc_ids": DOCS, "created_at": NUMBERS.cast(pa.timestamp("s"))}, "position", "created_at"),
        ({"file_name": DOCS, "paragraph": NUMBERS}, "article", "file_name"),
        ({"doc_id": DOCS, "chunk_number": NUMBERS, "_rowid": NUMBERS}, "position", "chunk_number"),
        ({"doc_id": DOCS, "chunk_id": DOCS, "ord": NUMBERS}, "position", "ord"),
        ({"doc_id": DOCS, "seq_no": NUMBERS, "tokens": pa.array([[1, 2]] * N)}, "tokens", "@none"),
    ],
)
def test_names_are_taken_in_any_spelling_and_only_with_a_fitting_type(
    tmp_path: Path, columns: dict[str, Any], part: str, column: str
) -> None:
    """Capitals, plurals and databases' own row numbers; a list of token ids is no count, and the notice says so."""
    result = found(tmp_path / "data", {**columns, "embedding": vectors(8), "bbox": vectors(4)})
    assert result.taken[part] == column
    assert result.taken["vector"] == "embedding"


@pytest.mark.parametrize(
    ("columns", "taken"),
    [
        (
            {"document": pa.array([f"text {n}" for n in range(N)]), "doc": DOCS, "pos": NUMBERS},
            {"article": "doc", "position": "pos"},
        ),
        ({"title": TEXTS, "id": NUMBERS}, {"article": "title", "position": "id"}),
        ({"doc_id": DOCS, "id": pa.array([3, 1, 2, *range(3, N)])}, {"article": "doc_id"}),
        ({"document": pa.array([f"text {n}" for n in range(N)])}, {}),
    ],
)
def test_names_that_can_mean_two_things_are_told_apart_by_values(
    tmp_path: Path, columns: dict[str, Any], taken: dict[str, str]
) -> None:
    """A document that never repeats is a text, and an id that falls is no position."""
    result = found(tmp_path / "data", {**columns, "embedding": vectors(8)})
    assert dict(result.taken) == {"vector": "embedding", **taken}


def test_a_text_called_context_is_no_context(tmp_path: Path) -> None:
    """A column of the usual name that holds no vectors does not hide the one that does."""
    columns = {"context": TEXTS, "embedding": vectors(8), "doc_id": DOCS, "position": NUMBERS}
    result = found(tmp_path / "data", columns)
    assert result.layout == "sequences"
    assert result.names.vector == "embedding"


def test_two_columns_that_can_play_a_part_are_an_error_that_names_both(tmp_path: Path) -> None:
    """The hint and the flags have an option for each."""
    columns = {
        "title_embedding": vectors(8),
        "body_embedding": vectors(8),
        "doc_id": DOCS,
        "position": NUMBERS,
    }
    with pytest.raises(AmbiguousColumns) as caught:
        found(tmp_path / "data", columns)
    message, hint = caught.value.args
    assert "`title_embedding` and `body_embedding` can both be the vector" in message
    assert caught.value.flags == ("--vector-column title_embedding", "--vector-column body_embedding")
    assert all(flag in hint for flag in caught.value.flags)
    assert found(tmp_path / "data", columns, {"vector": "body_embedding"}).names.vector == "body_embedding"


def test_what_is_given_is_not_searched(tmp_path: Path) -> None:
    """A column that is given for one part is not taken for another."""
    columns = {"id": DOCS, "n": NUMBERS, "embedding": vectors(8)}
    result = found(tmp_path / "data", columns, {"position": "n", "article": "@file"})
    assert (result.names.article, result.names.position, dict(result.taken)) == (
        "@file",
        "n",
        {"vector": "embedding"},
    )


@pytest.mark.parametrize(
    ("column", "dim"),
    [
        (vectors(384, pa.list_(pa.float64(), 384)), 384),
        (vectors(16, pa.large_list(pa.float16())), 16),
        (vectors(16, pa.list_view(pa.float32())), 16),
        (pa.array([np.ones(32, "<f4").tobytes()] * N, pa.binary(128)), 32),
        (pa.array([None, *[np.ones(32, "<f4").tobytes()] * (N - 1)], pa.binary()), 32),
        (pa.array([None, [], *[[1.0] * 24] * (N - 2)]), 24),
    ],
)
def test_the_width_is_that_of_the_type_or_of_most_first_rows(
    tmp_path: Path, column: pa.Array, dim: int
) -> None:
    """Every encoding of vectors is measured, null and empty rows apart."""
    result = found(tmp_path / "data", {"doc_id": DOCS, "position": NUMBERS, "embedding": column})
    assert result.shape == WindowShape(dim=dim)


def test_bytes_are_vectors_only_by_their_name(tmp_path: Path) -> None:
    """A uuid in 16 bytes beside the vectors is no second candidate."""
    uuids = pa.array([bytes(16)] * N, pa.binary(16))
    result = found(
        tmp_path / "data", {"doc_id": uuids, "position": NUMBERS, "embedding": vectors(8), "blob": uuids}
    )
    assert dict(result.taken) == {"vector": "embedding", "article": "doc_id"}


def test_columns_of_null_are_absent(tmp_path: Path) -> None:
    """A column without values plays no part, so that another one can."""
    columns = {
        "vector": pa.nulls(N),
        "embedding": vectors(8),
        "article_id": pa.nulls(N),
        "doc": DOCS,
        "pos": NUMBERS,
    }
    assert dict(found(tmp_path / "data", columns).taken) == {
        "vector": "embedding",
        "article": "doc",
        "position": "pos",
    }


def test_folders_give_columns(tmp_path: Path) -> None:
    """A folder's column can be the article, as `doc_id=17/part.parquet`."""
    (tmp_path / "data").mkdir()
    result = found(tmp_path / "data" / "doc_id=17", {"embedding": vectors(8), "chunk": NUMBERS})
    assert result.names.article == "doc_id"


def test_one_line_says_what_was_taken(tmp_path: Path) -> None:
    """The notice names each column and its part; there is none if all names are the usual ones."""
    columns = {"embedding": vectors(8), "article_id": DOCS, "position": NUMBERS}
    notice = found_notice(found(tmp_path / "data", columns).taken)
    assert notice is not None
    assert "`embedding` is the vector" in notice
    assert "--vector-column" in notice
    assert found_notice(found(tmp_path / "other", {**columns, "vector": vectors(8)}).taken) is None


def test_a_bank_needs_the_column_of_vectors_alone(tmp_path: Path) -> None:
    """Two possible articles are no error: then the bank has none."""
    found(
        tmp_path / "data",
        {"doc_id": DOCS, "document_id": DOCS, "embedding": vectors(8)},
        {"article": "doc_id"},
    )
    files = find_files([str(tmp_path / "data")])
    assert find_bank_columns(files, {}, ids="id") == {"vector": "embedding"}


def test_only_the_parts_that_are_wanted_are_searched(tmp_path: Path) -> None:
    """Two columns that can play a part are no error for a command that does not need the part."""
    columns = {"doc_id": DOCS, "article": DOCS, "chunk_index": NUMBERS, "emb": vectors(8)}
    pq.write_table(pa.table(columns), tmp_path / "part.parquet")
    files = find_files([str(tmp_path)])
    assert find_columns(files, {}, parts=()).taken == {"vector": "emb"}
    assert find_columns(files, {}, parts=("position",)).taken == {"vector": "emb", "position": "chunk_index"}
    with pytest.raises(AmbiguousColumns, match="can both be the article"):
        find_columns(files, {}, parts=("article",))
