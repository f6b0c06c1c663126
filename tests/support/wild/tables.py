"""Single Parquet files of sentences, as the tools that people use write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from support.wild.truth import Documents, Wild, documents, wild

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def write(path: Path, **columns: Any) -> Path:  # noqa: ANN401 - whatever Arrow takes
    """Write columns with pyarrow."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def floats(rows: Documents) -> pa.Array:
    """Return vectors as ``list<float>``, the type that most tools write."""
    return pa.array(rows.lists, pa.list_(pa.float32()))


def id_text_embedding(folder: Path) -> Wild:
    """The table of every tutorial, one document a file: nothing but the file says which."""
    rows = documents(384, sentences=(90,))
    frame = pd.DataFrame({"id": range(rows.n_rows), "text": rows.texts, "embedding": rows.lists})
    frame.to_parquet(folder / "report.parquet", index=False)
    return wild(folder / "report.parquet", rows)


def polars_float64(folder: Path) -> Wild:
    """Lists of Python floats, which polars writes as ``large_list<double>``; integer ids, 1,024 wide."""
    rows = documents(1024)
    frame = pl.DataFrame(
        {
            "document_id": rows.article + 1000,
            "chunk_id": rows.position,
            "content": rows.texts,
            "embeddings": rows.vectors.astype(np.float64).tolist(),
        }
    )
    frame.write_parquet(folder / "chunks.parquet")
    return wild(folder / "chunks.parquet", rows)


def polars_array(folder: Path) -> Wild:
    """A polars array column, which is a fixed-size list, of float16."""
    rows = documents(32)
    half = rows.vectors.astype(np.float16)
    rows = Documents(rows.article, rows.position, half.astype(np.float32))
    frame = pl.DataFrame(
        {"doc": rows.uuids, "sentence": rows.texts, "sent_idx": rows.position, "emb": pl.Series(half)}
    )
    frame.write_parquet(folder / "sentences.parquet")
    return wild(folder / "sentences.parquet", rows)


def duckdb_array(folder: Path) -> Wild:
    """What DuckDB writes for ``FLOAT[32]``: the type in Parquet no longer says how many."""
    rows = documents(32)
    columns = {"doc_uuid": rows.uuids, "ord": rows.position, "body": rows.texts, "vec": floats(rows)}
    with duckdb.connect() as database:
        relation = database.from_arrow(pa.table(columns))
        kinds = relation.project(
            "doc_uuid::UUID AS doc_uuid, ord::SMALLINT AS ord, body, vec::FLOAT[32] AS vec"
        )
        kinds.write_parquet(str(folder / "export.parquet"))
    return wild(folder / "export.parquet", rows)


def pandas_index(folder: Path) -> Wild:
    """A filtered data frame: its index is a column, and one column holds only nulls."""
    rows = documents(32)
    frame = pd.DataFrame(
        {
            "document": rows.article,
            "sentence_no": rows.position,
            "sentence": rows.texts,
            "lane": None,
            "vector": rows.lists,
        },
        index=np.arange(rows.n_rows) * 3 + 7,
    )
    frame.to_parquet(folder / "filtered.parquet")
    return wild(folder / "filtered.parquet", rows)


def float_positions(folder: Path) -> Wild:
    """Positions that pandas made floats because a merge left some out for a while."""
    rows = documents(32)
    frame = pd.DataFrame(
        {
            "article_id": rows.uuids,
            "paragraph": rows.position.astype(np.float64),
            "text": rows.texts,
            "embedding": rows.lists,
        }
    )
    frame.to_parquet(folder / "paragraphs.parquet", index=False)
    return wild(folder / "paragraphs.parquet", rows)


def timestamps(folder: Path) -> Wild:
    """Messages of chats, in no order: the time tells it."""
    rows = documents(32).shuffled()
    start = np.datetime64("2026-11-01T08:00:00", "us")
    frame = pd.DataFrame(
        {
            "conversation_id": rows.uuids,
            "created_at": start + rows.position * np.timedelta64(90, "s"),
            "message": rows.texts,
            "embedding": rows.lists,
        }
    )
    frame.to_parquet(folder / "messages.parquet", index=False)
    return wild(folder / "messages.parquet", rows)


def sqlite_blobs(folder: Path) -> Wild:
    """Vectors as float32 bytes of variable length, as tables of SQLite and Postgres are exported."""
    rows = documents(32)
    blobs = pa.array([vector.tobytes() for vector in rows.vectors], pa.binary())
    return _stored(folder / "chunks.parquet", rows, blobs)


def list_of_one_list(folder: Path) -> Wild:
    """What an embedding model returns for a batch of one: a list that holds one list."""
    rows = documents(32)
    nested = pa.array([[vector.tolist()] for vector in rows.vectors], pa.list_(pa.list_(pa.float32())))
    return _stored(folder / "chunks.parquet", rows, nested)


def dictionary_ids(folder: Path) -> Wild:
    """Ids as pandas categories, in row groups of few rows."""
    rows = documents(32)
    table = pa.table(
        {
            "source": pa.array(rows.uuids).dictionary_encode(),
            "chunk_idx": pa.array(rows.position, pa.uint16()),
            "page_content": rows.texts,
            "embedding": floats(rows),
        }
    )
    pq.write_table(table, folder / "langchain.parquet", row_group_size=13)
    return wild(folder / "langchain.parquet", rows)


def _stored(path: Path, rows: Documents, embedding: pa.Array) -> Wild:
    """Write a table in whose embedding alone the tools differ."""
    columns = {"doc_id": rows.uuids, "chunk_index": rows.position, "chunk_text": rows.texts}
    return wild(write(path, **columns, embedding=embedding), rows)


TABLES: tuple[Callable[[Path], Wild], ...] = (
    polars_float64,
    polars_array,
    duckdb_array,
    pandas_index,
    float_positions,
    timestamps,
    sqlite_blobs,
    list_of_one_list,
    dictionary_ids,
)
