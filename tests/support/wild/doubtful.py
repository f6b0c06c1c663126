"""Datasets that a person has to decide about, and files that hold vectors in a form that nobody reads.

The rule: each comes with what the first command must name, so that its owner knows what to do next.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from support.wild.tables import floats, write
from support.wild.truth import Documents, Wild, documents, wild

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def two_vectors(folder: Path) -> Wild:
    """A vector of the title and one of the body in each row: described with the second."""
    titles, bodies = documents(32, seed=8), documents(32, seed=9)
    columns = titles.columns(doc_id="uuids", chunk_index="position", text="texts")
    path = write(
        folder / "chunks.parquet", **columns, title_embedding=floats(titles), body_embedding=floats(bodies)
    )
    return wild(path, bodies)


@dataclass(frozen=True)
class Unusable:
    """What a newcomer types after ``inspect``, and what the answer must name."""

    dataset: str
    named: tuple[str, ...]


def structs(folder: Path) -> Unusable:
    """Vectors inside a struct, as answers of an API are stored."""
    rows = documents(32)
    inner = pa.StructArray.from_arrays(
        [pa.array(["embedding"] * rows.n_rows), floats(rows)], ["object", "values"]
    )
    return _table(folder, rows, ("response", "struct"), response=inner)


def vectors_as_text(folder: Path) -> Unusable:
    """Vectors that a CSV file made texts."""
    rows = documents(32)
    return _table(
        folder, rows, ("embedding", "string"), embedding=[str(vector.tolist()) for vector in rows.vectors]
    )


def whole_numbers(folder: Path) -> Unusable:
    """Vectors quantised to int8."""
    rows = documents(32)
    quantised = pa.array(list(np.int8(rows.vectors * 127)), pa.list_(pa.int8()))
    return _table(folder, rows, ("embedding", "int8"), embedding=quantised)


def column_each(folder: Path) -> Unusable:
    """A column for each component, as a data frame made of an array has."""
    rows = documents(32)
    frame = pd.DataFrame(rows.vectors, columns=[f"dim_{place}" for place in range(32)])
    frame.insert(0, "doc_id", rows.uuids)
    frame.to_parquet(folder / "frame.parquet", index=False)
    return Unusable(str(folder / "frame.parquet"), ("dim_0", "doc_id"))


def no_vectors(folder: Path) -> Unusable:
    """The texts before anybody embedded them."""
    rows = documents(32)
    return _table(folder, rows, ("chunk_index", "text"))


def csv_file(folder: Path) -> Unusable:
    """A CSV file."""
    with (folder / "vectors.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "x", "y"], [1, 0.5, 0.25]])
    return Unusable(str(folder / "vectors.csv"), ("vectors.csv",))


def arrow_file(folder: Path) -> Unusable:
    """What ``save_to_disk`` of Hugging Face's datasets writes: Arrow streams."""
    rows = documents(32)
    table = pa.table({"text": rows.texts, "embedding": floats(rows)})
    with pa.ipc.new_stream(folder / "data-00000-of-00001.arrow", table.schema) as stream:
        stream.write_table(table)
    (folder / "state.json").write_text(
        json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]})
    )
    return Unusable(str(folder), ("data-00000-of-00001.arrow",))


def empty_folder(folder: Path) -> Unusable:
    """A folder without a file."""
    return Unusable(str(folder), (str(folder.name),))


def broken_file(folder: Path) -> Unusable:
    """A download that stopped half-way, beside a whole file."""
    rows = documents(32)
    whole = write(folder / "a.parquet", doc_id=rows.uuids, chunk_index=rows.position, embedding=floats(rows))
    (folder / "b.parquet").write_bytes(whole.read_bytes()[:2000])
    return Unusable(str(folder), ("b.parquet", "embedding"))


def nested_ids(folder: Path) -> Unusable:
    """Ids inside a struct, as Chroma and LangChain keep them: only the vectors are a column of their own."""
    rows = documents(32)
    ids = [
        {"doc_id": doc, "chunk": chunk} for doc, chunk in zip(rows.uuids, rows.position.tolist(), strict=True)
    ]
    path = write(
        folder / "chroma.parquet", document=rows.texts, metadata=pa.array(ids), embedding=floats(rows)
    )
    return Unusable(str(path), ("metadata", "doc_id"))


def _table(folder: Path, rows: Documents, named: tuple[str, ...], **columns: object) -> Unusable:
    others = rows.columns(doc_id="uuids", chunk_index="position", text="texts")
    return Unusable(str(write(folder / "chunks.parquet", **others, **columns)), named)


UNUSABLE: tuple[Callable[[Path], Unusable], ...] = (
    structs,
    nested_ids,
    vectors_as_text,
    whole_numbers,
    column_each,
    no_vectors,
    csv_file,
    arrow_file,
    empty_folder,
    broken_file,
)
