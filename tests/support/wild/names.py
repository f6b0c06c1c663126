"""Tables whose columns have the names that people and databases give them, some of which mislead.

The rule: each column is there because a real schema has it; only one reading of the names makes sense.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from support.wild.tables import floats, write
from support.wild.truth import Wild, documents, wild

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def other_lists(folder: Path) -> Wild:
    """Other lists of floats beside the embedding: a box on the page, and the values of a sparse vector."""
    rows = documents(32)
    counts = np.random.default_rng(6).integers(1, 9, rows.n_rows).tolist()
    columns = {
        "doc_id": rows.uuids,
        "chunk_index": rows.position,
        "text": rows.texts,
        "bbox": pa.array([[0.1, 0.2, 0.8, 0.9]] * rows.n_rows, pa.list_(pa.float32())),
        "sparse_indices": pa.array([list(range(count)) for count in counts], pa.list_(pa.int32())),
        "sparse_values": pa.array([[0.5] * count for count in counts], pa.list_(pa.float32())),
        "embedding": floats(rows),
    }
    return wild(write(folder / "hybrid.parquet", **columns), rows)


def pages(folder: Path) -> Wild:
    """Chunks of PDF files: a page and a chunk number both tell the place, the file's name tells the document."""
    rows = documents(32)
    columns = {
        "id": [f"{number:08x}" for number in range(rows.n_rows)],
        "file_name": [f"report-{article}.pdf" for article in rows.article],
        "page": rows.position // 4,
        "chunk_index": rows.position,
        "text": rows.texts,
        "embedding": floats(rows),
    }
    return wild(write(folder / "pdf.parquet", **columns), rows)


def offsets(folder: Path) -> Wild:
    """The place in a document is where the chunk begins in its text; tokens are counted."""
    rows = documents(32)
    columns = {
        "document_id": rows.article,
        "start_index": rows.position * 812 + rows.article,
        "token_count": np.full(rows.n_rows, 180),
        "page_content": rows.texts,
        "embedding": floats(rows),
    }
    return wild(write(folder / "split.parquet", **columns), rows)


def ids_without_positions(folder: Path) -> Wild:
    """Documents have ids, but their rows are in order and have no number."""
    rows = documents(32)
    columns = {"doc_id": rows.uuids, "text": rows.texts, "embedding": floats(rows)}
    return wild(write(folder / "ordered.parquet", **columns), rows)


def unordered_ids(folder: Path) -> Wild:
    """Each row has an id of its own, a number that says nothing of its place; rows are in order."""
    rows = documents(32)
    ids = np.random.default_rng(1).permutation(10**6)[: rows.n_rows]
    columns = {"doc_id": rows.uuids, "id": ids, "text": rows.texts, "embedding": floats(rows)}
    return wild(write(folder / "hashed.parquet", **columns), rows)


def document_is_text(folder: Path) -> Wild:
    """A collection of Chroma: `document` is the text of a row, and `source` says which document it is of."""
    rows = documents(32)
    columns = {
        "id": [f"{number:032x}" for number in range(rows.n_rows)],
        "document": rows.texts,
        "source": [f"docs/{article}.md" for article in rows.article],
        "chunk": rows.position,
        "embedding": floats(rows),
    }
    return wild(write(folder / "chroma.parquet", **columns), rows)


def taken_names(folder: Path) -> Wild:
    """Columns that the output has, too: what an OCR was sure of, and where a document stands in its workflow."""
    rows = documents(32)
    columns = {
        "doc_id": rows.uuids,
        "chunk_index": rows.position,
        "text": rows.texts,
        "status": ["published"] * rows.n_rows,
        "Confidence": np.linspace(0, 1, rows.n_rows),
        "embedding": floats(rows),
    }
    return wild(write(folder / "ocr.parquet", **columns), rows)


def backwards(folder: Path) -> Wild:
    """The newest first: positions fall."""
    rows = documents(32)
    rows = rows.take(slice(None, None, -1))
    columns = {
        "thread_id": rows.article,
        "seq_no": rows.position,
        "text": rows.texts,
        "embedding": floats(rows),
    }
    return wild(write(folder / "threads.parquet", **columns), rows)


def qdrant(folder: Path) -> Wild:
    """Points of a vector database with a flattened payload: dots and spaces in names, ids in no order, shuffled."""
    rows = documents(32).shuffled()
    columns = {
        "id": [f"{number:032x}" for number in np.random.default_rng(2).permutation(rows.n_rows)],
        "version": np.ones(rows.n_rows, np.int64),
        "payload.doc_id": rows.uuids,
        "payload.chunk index": rows.position,
        "payload.text": rows.texts,
        "vector": floats(rows),
    }
    return wild(write(folder / "collection points.parquet", **columns), rows)


def lancedb(folder: Path) -> Wild:
    """The result of a search of LanceDB: a distance beside fixed-size lists, and its row ids; brackets in the path."""
    rows = documents(32)
    columns = {
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(rows.vectors.ravel()), 32),
        "text": rows.texts,
        "doc_id": rows.uuids,
        "chunk_number": pa.array(rows.position, pa.int32()),
        "_distance": np.random.default_rng(3).random(rows.n_rows).astype(np.float32),
        "_rowid": pa.array(np.arange(rows.n_rows), pa.uint64()),
    }
    return wild(write(folder / "exports (2026) [final]" / "table.parquet", **columns), rows)


def context_is_text(folder: Path) -> Wild:
    """`context` and `target` are strings and `tokens` lists, as in datasets of questions; `embedding` is floats."""
    rows = documents(32)
    columns = {
        "article_id": rows.article,
        "position": rows.position,
        "context": rows.texts,
        "question": [f"What does {text.lower()[:-1]} say?" for text in rows.texts],
        "target": ["an answer"] * rows.n_rows,
        "tokens": pa.array([[101, 7, 102]] * rows.n_rows, pa.list_(pa.int32())),
        "embedding": floats(rows),
    }
    return wild(write(folder / "squad.parquet", **columns), rows)


def mixed_letters(folder: Path) -> Wild:
    """Names in capitals, as warehouses export them: in no order, and every number a decimal."""
    rows = documents(32).shuffled()
    columns = {
        "DOCUMENT_ID": rows.uuids,
        "CHUNK_INDEX": pa.array(rows.position).cast(pa.decimal128(38, 0)),
        "CHUNK": rows.texts,
        "EMBEDDING": floats(rows),
        "N_TOKENS": np.full(rows.n_rows, 21),
    }
    return wild(write(folder / "snowflake.parquet", **columns), rows)


NAMES: tuple[Callable[[Path], Wild], ...] = (
    context_is_text,
    other_lists,
    pages,
    offsets,
    ids_without_positions,
    unordered_ids,
    document_is_text,
    taken_names,
    backwards,
    qdrant,
    lancedb,
    mixed_letters,
)
