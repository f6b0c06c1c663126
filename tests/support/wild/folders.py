"""Folders of several Parquet files of sentences."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from support.wild.tables import floats, write
from support.wild.truth import Documents, Wild, documents, wild

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


def joined(parts: Sequence[Documents]) -> Documents:
    """Return the rows of several files, file by file."""
    one = [
        np.concatenate([getattr(part, name) for part in parts]) for name in ("article", "position", "vectors")
    ]
    return Documents(*one, bad=frozenset().union(*(part.bad for part in parts)))


def uuid_shards(folder: Path) -> Wild:
    """Documents by UUID and chunks by number, 384 wide, shuffled over three shards by a job of many workers."""
    rows = documents(384).shuffled()
    for number, part in enumerate(rows.cut(3)):
        columns = part.columns(doc_id="uuids", chunk_index="position", text="texts", embedding="lists")
        pd.DataFrame(columns).to_parquet(folder / f"shard_{number}.parquet", index=False)
    return wild(folder, rows)


def goes_on(folder: Path) -> Wild:
    """Rows in order, cut into shards of so many rows: articles go on in the next one."""
    rows = documents(32)
    for number, part in enumerate(rows.cut(4)):
        columns = part.columns(doc_id="uuids", chunk_index="position", text="texts")
        write(folder / f"chunks-{number:02d}.parquet", **columns, embedding=floats(part))
    return wild(folder, rows)


def hugging_face(folder: Path) -> Wild:
    """A clone of a dataset's repository, with Cohere's columns of Wikipedia."""
    rows = documents(64)
    parts = [rows.of(0, 1, 2, 3), rows.of(4, 5, 6)]
    for number, part in enumerate(parts):
        path = folder / f"data/train-{number:05d}-of-00002-1a2b3c4d5e6f.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(_cohere(part), path)
    (folder / "README.md").write_text("---\ndataset_info:\n  splits:\n  - name: train\n---\n# wiki\n")
    (folder / "dataset_info.json").write_text(
        json.dumps({"splits": {"train": {"num_examples": rows.n_rows}}})
    )
    (folder / ".gitattributes").write_text("*.parquet filter=lfs\n")
    return wild(folder, joined(parts))


def _cohere(rows: Documents) -> pa.Table:
    columns = {
        "id": np.arange(rows.n_rows),
        "title": [f"Article {article}" for article in rows.article],
        "text": rows.texts,
        "url": [f"https://en.wikipedia.org/wiki?curid={article}" for article in rows.article],
        "wiki_id": rows.article + 9000,
        "views": np.float32(rows.article * 11.5),
        "paragraph_id": pa.array(rows.position, pa.int32()),
        "langs": pa.array(rows.article % 3 + 20, pa.int32()),
        "emb": pa.FixedSizeListArray.from_arrays(pa.array(rows.vectors.ravel()), 64),
    }
    features = {
        name: {"dtype": "int64", "_type": "Value"} if name != "emb" else {"length": 64, "_type": "List"}
        for name in columns
    }
    return pa.table(columns).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )


def hive_lanes(folder: Path) -> Wild:
    """Hive folders of lanes and splits, which the files themselves do not hold."""
    rows = documents(32)
    places = {
        "lane=law/split=in_dist": (4, 5),
        "lane=news/split=in_dist": (0, 1),
        "lane=news/split=ood": (2, 3, 6),
    }
    parts = [rows.of(*articles) for articles in places.values()]
    for place, part in zip(places, parts, strict=True):
        columns = part.columns(article_id="article", position="position", text="texts")
        write(folder / place / "part-0.parquet", **columns, vector=floats(part))
    return wild(folder, joined(parts))


def hive_articles(folder: Path) -> Wild:
    """A folder an article, as ``partitionBy`` writes it: no file says which article it is of."""
    rows = documents(32)
    for article in sorted(set(rows.article.tolist())):
        part = rows.of(article)
        columns = part.columns(seq="position", text="texts")
        write(folder / f"article_id={article}" / "data_0.parquet", **columns, embedding=floats(part))
    return wild(folder, rows)


def file_per_document(folder: Path) -> Wild:
    """A file a document, in reading order: nothing else says what belongs together."""
    rows = documents(32)
    for article in sorted(set(rows.article.tolist())):
        part = rows.of(article)
        write(folder / f"book {article}.parquet", text=part.texts, embedding=floats(part))
    return wild(folder, rows)


def spark(folder: Path) -> Wild:
    """What Spark leaves: a marker, checksums, and parts with snappy in their names."""
    rows = documents(32)
    parts = [rows.of(0, 1, 2), rows.of(3, 4), rows.of(5, 6)]
    for number, part in enumerate(parts):
        name = f"part-{number:05d}-7f0c2f4e-7a4b-4c51-9d0a-3f1f2a6b8c9d-c000.snappy.parquet"
        columns = part.columns(documentId="uuids", chunkIndex="position", text="texts")
        write(folder / name, **columns, features=floats(part))
        (folder / f".{name}.crc").write_bytes(b"crc\0\0\0\2\0")
    (folder / "_SUCCESS").touch()
    return wild(folder, joined(parts))


def without_extension(folder: Path) -> Wild:
    """Files of a bucket that have no extension, beside the marker that a console of S3 makes for a folder."""
    rows = documents(32)
    parts = [rows.of(0, 1, 2), rows.of(3, 4, 5, 6)]
    for name, part in zip(("000000", "000001"), parts, strict=True):
        columns = part.columns(article="uuids", idx="position", text="texts")
        write(folder / "export" / name, **columns, embedding=floats(part))
    (folder / "export_$folder$").touch()
    return wild(folder, joined(parts))


def compressed_names(folder: Path) -> Wild:
    """The compression stands in the names, as in the documentation of pandas."""
    rows = documents(32)
    parts = [rows.of(0, 1, 2), rows.of(3, 4, 5, 6)]
    for name, part in zip(("a", "b"), parts, strict=True):
        columns = part.columns(doc_id="uuids", chunk_index="position", text="texts", embedding="lists")
        pd.DataFrame(columns).to_parquet(folder / f"{name}.parquet.gzip", compression="gzip")
    return wild(folder, joined(parts))


def mixed_ids(folder: Path) -> Wild:
    """Ids that are numbers in one file and texts in the other, since one of them was through a CSV file."""
    rows = documents(32)
    parts = [rows.of(0, 1, 2), rows.of(3, 4, 5, 6)]
    ids = (pa.array(parts[0].article + 100), pa.array([f"{article + 100}" for article in parts[1].article]))
    for name, part, article in zip("ab", parts, ids, strict=True):
        columns = part.columns(chunk_index="position", text="texts")
        write(folder / f"{name}.parquet", doc_id=article, **columns, embedding=floats(part))
    return wild(folder, joined(parts))


def mixed_types(folder: Path) -> Wild:
    """Shards of several jobs, given as a pattern: the first is empty, one has float64, one a lane of type null."""
    rows = documents(32)
    empty = pd.DataFrame(
        {"doc_id": [], "chunk_index": [], "text": [], "lane": [], "embedding": []}, dtype=object
    )
    empty.to_parquet(folder / "part.0.parquet", index=False)
    parts = [rows.of(0, 1, 2, 3), rows.of(4, 5, 6)]
    kinds, lanes = (pa.float32(), pa.float64()), (pa.nulls(parts[0].n_rows), ["news"] * parts[1].n_rows)
    for number, (part, kind, lane) in enumerate(zip(parts, kinds, lanes, strict=True), 1):
        columns = part.columns(doc_id="uuids", chunk_index="position", text="texts")
        embedding = pa.array([vector.tolist() for vector in part.vectors], pa.list_(kind))
        write(folder / f"part.{number}.parquet", **columns, lane=lane, embedding=embedding)
    return wild(folder / "part.*.parquet", joined(parts))


def train_test(folder: Path) -> Wild:
    """Folders of other splits than `in_dist` and `ood`."""
    rows = documents(32)
    parts = [rows.of(0, 1, 2), rows.of(3, 4, 5, 6)]
    for split, part in zip(("test", "train"), parts, strict=True):
        columns = part.columns(doc_id="uuids", chunk_index="position", text="texts")
        write(folder / f"split={split}" / "0.parquet", **columns, embedding=floats(part))
    return wild(folder, joined(parts))


def hugging_face_cache(folder: Path) -> Wild:
    """A snapshot in the cache of Hugging Face's hub: links to blobs that have no extension."""
    rows = documents(32)
    columns = rows.columns(document="uuids", idx="position", text="texts")
    blob = write(folder / "blobs" / ("ab" * 32), **columns, emb=floats(rows))
    snapshot = folder / "snapshots/0a1b2c3d/data"
    snapshot.mkdir(parents=True)
    (snapshot / "train-00000-of-00001.parquet").symlink_to(f"../../../blobs/{blob.name}")
    return wild(snapshot.parent, rows)


def some_bad(folder: Path) -> Wild:
    """A few vectors are null, NaN or too short, the first among them: an embedding service failed now and then."""
    rows = documents(32, sentences=(60, 80, 100))
    broken: dict[int, Any] = {0: None, 30: None, 31: None, 95: [float("nan")] * 32, 170: [], 200: [0.5] * 31}
    lists = [broken.get(row, vector) for row, vector in enumerate(rows.lists)]
    rows = Documents(rows.article, rows.position, rows.vectors, frozenset(rows.texts[row] for row in broken))
    columns = rows.columns(doc_id="uuids", chunk_index="position", text="texts")
    write(folder / "embedded.parquet", **columns, embedding=pa.array(lists, pa.list_(pa.float32())))
    return wild(folder, rows)


FOLDERS: tuple[Callable[[Path], Wild], ...] = (
    uuid_shards,
    goes_on,
    hive_lanes,
    hive_articles,
    spark,
    without_extension,
    compressed_names,
    mixed_ids,
    mixed_types,
    train_test,
    hugging_face_cache,
    some_bad,
)
