"""Tests of Parquet, NPZ and bank files whose names, sizes and numbers are made to do harm."""

from __future__ import annotations

import copy
import io
import json
import random
import struct
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import thrift
from support.datasets import encode, sample, windows, write_windows

from lvm_batch.io.bank.bank import build_bank
from lvm_batch.io.dataset.files import find_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.victim import Ending, Victim

pytestmark = pytest.mark.slow

MAX_BYTES = 2**29
LIES = (-(2**63), -1, 0, 1, 2**31 - 1, 2**31, 2**40, 2**62)


@pytest.fixture
def opened(victim: Victim) -> Callable[..., Ending]:
    """Open a file: a result, or an error that names it, within limits of time and memory."""

    def open_it(kind: str, path: Path, **options: Any) -> Ending:  # noqa: ANN401
        ending = victim.open(kind, path, **options)
        assert ending.how in {"result", "refused"}, ending.said
        assert ending.peak_bytes < MAX_BYTES
        if ending.how == "refused" and "footer promised" not in ending.said[0]:
            assert str(path) in " ".join(ending.said)
            assert ending.said[1]
        return ending

    return open_it


def dataset(path: Path) -> Path:
    """Ninety windows in three row groups, large enough to be inspected, with the optional columns of a dataset."""
    contexts, targets = (part[:450:5] for part in windows())  # no vector occurs twice
    lanes = pa.array(["chat", "med-guideline", None] * 30).dictionary_encode()
    columns = {"lane": lanes, "context_tokens": list(range(90)), "note": ["n"] * 90}
    return write_windows(path, contexts, targets, row_group_rows=30, columns=columns)


def test_footers_are_rebuilt_unchanged(tmp_path: Path) -> None:
    """The parser and writer of footers used in these tests change nothing by themselves."""
    path = dataset(tmp_path / "in.parquet")
    assert thrift.with_footer(path, thrift.read_footer(path)) == path.read_bytes()


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize(
    "where",
    ["rows of the file", "rows of a group", "values", "packed size", "unpacked size", "page offset"],
)
def test_numbers_in_a_footer_may_lie(
    opened: Callable[..., Ending], tmp_path: Path, where: str, lie: int
) -> None:
    """Wrong counts, sizes and offsets give an error or the actual rows, and never a large memory allocation."""
    path = dataset(tmp_path / "in.parquet")
    footer = thrift.read_footer(path)
    groups = footer[4][1][1]
    chunk = groups[1][1][1][1][-2][3][1]
    container, key = {
        "rows of the file": (footer, 3),
        "rows of a group": (groups[1], 3),
        "values": (chunk, 5),
        "unpacked size": (chunk, 6),
        "packed size": (chunk, 7),
        "page offset": (chunk, 9),
    }[where]
    thrift.put(container, key, lie)
    path.write_bytes(thrift.with_footer(path, footer))
    for kind in ("dataset", "inspect", "pack"):
        ending = opened(kind, path)
        if ending.how == "result" and kind == "dataset":
            assert ending.said["out"] == ending.said["promised"]


@pytest.mark.parametrize("lie", [-1, 0, 1, 3839, 2**31 - 1])
def test_lengths_of_lists_and_binary_may_lie(opened: Callable[..., Ending], tmp_path: Path, lie: int) -> None:
    """A declared width that differs from the pages is refused."""
    path = write_windows(tmp_path / "in.parquet", windows()[0][:9], encoding="binary")
    footer = thrift.read_footer(path)
    for element in footer[2][1][1]:
        if 2 in element and element[4][1] == b"context":
            thrift.put(element, 2, lie)
    footer.pop(5)  # Arrow's own copy of the schema
    path.write_bytes(thrift.with_footer(path, footer))
    assert opened("dataset", path).how == "refused"


@pytest.mark.parametrize("length", [0, 1, 2**31 - 1, 2**32 - 1])
def test_the_footers_length_may_lie(opened: Callable[..., Ending], tmp_path: Path, length: int) -> None:
    """A footer longer than its file is refused."""
    path = dataset(tmp_path / "in.parquet")
    content = path.read_bytes()
    path.write_bytes(content[:-8] + struct.pack("<I", length) + b"PAR1")
    assert opened("dataset", path).how == "refused"


@pytest.mark.parametrize("n_columns", [5_000, pytest.param(50_000, marks=pytest.mark.soak)])
def test_very_many_columns_are_inspected(
    opened: Callable[..., Ending], tmp_path: Path, n_columns: int
) -> None:
    """A look at very many columns takes only seconds of CPU, and the text stays short."""
    columns = {f"column_{n}": pa.nulls(2, pa.int8()) for n in range(n_columns)}
    pq.write_table(pa.table(columns), tmp_path / "in.parquet", compression="none")
    ending = opened("inspect", tmp_path / "in.parquet")
    assert ending.said["lines"] < 100
    assert ending.cpu_s < 20


def test_thousands_of_columns_are_carried(opened: Callable[..., Ending], tmp_path: Path) -> None:
    """Many columns beside the vectors are all written to the output."""
    columns = {f"column_{n}": pa.nulls(3, pa.int8()) for n in range(3_000)}
    path = write_windows(tmp_path / "in.parquet", windows()[0][:3], columns=columns)
    assert opened("dataset", path).said == {"promised": 3, "out": 3, "bad": 0}


@pytest.mark.parametrize("depth", [30, 90, 300])
def test_deeply_nested_lists_are_carried_or_refused(
    opened: Callable[..., Ending], tmp_path: Path, depth: int
) -> None:
    """Deep nesting is carried, or refused by name."""
    value: Any = 1
    kind = pa.int8()
    for _ in range(depth):
        value, kind = [value], pa.list_(kind)
    path = write_windows(
        tmp_path / "in.parquet", windows()[0][:2], columns={"deep": pa.array([value, None], kind)}
    )
    opened("dataset", path)
    pq.write_table(pa.table({"context": pa.array([value], kind)}), path)
    assert opened("dataset", path).how == "refused"


NAMES = [
    "a.b", "list.element", "new\nline", "nul\0", "\x1b[2J\x07", "\u202egnp", "", " ", "x" * 70_000,
    "é" * 300, "a/b", "..", "prediction.x",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_columns_may_be_called_anything(opened: Callable[..., Ending], tmp_path: Path, name: str) -> None:
    """A column of any name is carried under that name."""
    path = write_windows(tmp_path / "in.parquet", windows()[0][:2], columns={name: [1, 2]})
    assert opened("dataset", path).said == {"promised": 2, "out": 2, "bad": 0}


def test_names_of_invalid_utf8_are_refused(opened: Callable[..., Ending], tmp_path: Path) -> None:
    """Names in a footer must be UTF-8; otherwise the footer is damaged."""
    path = write_windows(tmp_path / "in.parquet", windows()[0][:2], columns={"qqqq": [1, 2]})
    path.write_bytes(path.read_bytes().replace(b"qqqq", b"q\xff\xfeq"))
    assert opened("dataset", path).how == "refused"


def heavy(path: Path) -> Path:
    """A file large enough that planning inspects its column chunks."""
    path = write_windows(path, windows()[0][:200], row_group_rows=150, columns={"lane": ["chat"] * 200})
    assert sum(pq.read_metadata(path).row_group(group).total_byte_size for group in range(2)) > 2**20
    return path


def test_any_text_of_a_footer_may_be_invalid(opened: Callable[..., Ending], tmp_path: Path) -> None:
    """With invalid UTF-8 in a name, key, statistic or version, the file is refused by name, or read."""
    path = heavy(tmp_path / "in.parquet")
    original, footer = path.read_bytes(), thrift.read_footer(path)
    endings = []
    for index in range(len(list(thrift.texts(footer)))):
        changed = copy.deepcopy(footer)
        container, key = list(thrift.texts(changed))[index]
        text = container[key][1] if isinstance(container, dict) else container[key]
        damaged = (b"\xff" + text[1:], text[:-1] + b"\x80")[index % 2]
        container[key] = (thrift.BINARY, damaged) if isinstance(container, dict) else damaged
        path.write_bytes(thrift.with_footer(path, changed))
        endings += [opened(kind, path).how for kind in ("dataset", "inspect", "pack")]
        path.write_bytes(original)
    assert set(endings) == {"refused", "result"}


@pytest.mark.parametrize("seed", range(4))
def test_bits_of_a_footer_may_flip(opened: Callable[..., Ending], tmp_path: Path, seed: int) -> None:
    """With one flipped bit anywhere in the footer, the file is refused by name, or read as the footer says."""
    path = heavy(tmp_path / "in.parquet")
    original, chance = path.read_bytes(), random.Random(seed)  # noqa: S311 - the same bits each time
    length = struct.unpack("<I", original[-8:-4])[0]
    for _ in range(40):
        changed = bytearray(original)
        changed[len(original) - 8 - chance.randrange(length) - 1] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        opened("dataset", path)


def test_values_of_invalid_utf8_stay_in_their_rows(opened: Callable[..., Ending], tmp_path: Path) -> None:
    """A lane that is not valid UTF-8 matches no configured lane, and the row has its prediction."""
    bad = pa.Array.from_buffers(pa.string(), 2, pa.array([b"\xff\xfe", b"chat"]).buffers())
    for lane in (bad, bad.dictionary_encode()):
        path = write_windows(tmp_path / "in.parquet", windows()[0][:2], columns={"lane": lane})
        assert opened("dataset", path).said == {"promised": 2, "out": 2, "bad": 0}


def test_a_page_that_points_beyond_its_dictionary_is_refused(
    opened: Callable[..., Ending], tmp_path: Path
) -> None:
    """Dictionary indices are checked against the dictionary before any lookup."""
    path = dataset(tmp_path / "in.parquet")
    content = bytearray(path.read_bytes())
    chunk = next(
        c[3][1] for c in thrift.read_footer(path)[4][1][1][0][1][1][1] if c[3][1][3][1][1] == [b"lane"]
    )
    for at in range(chunk[9][1] + 10, chunk[9][1] + 60):
        mutated = bytearray(content)
        mutated[at] = 255
        path.write_bytes(mutated)
        opened("dataset", path)
        opened("pack", path)


def npz(**arrays: bytes) -> bytes:
    """An NPZ file of raw members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in arrays.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def npy(shape: str, descr: str = "'<f4'", values: bytes = b"", **more: str) -> bytes:
    """An NPY file with any header."""
    extra = "".join(f", '{key}': {value}" for key, value in more.items())
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}{extra}}}".encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + values


HEADERS = {
    "more rows than there are": npy("(1000000000000, 5, 768)"),
    "rows beyond any number": npy(f"({10**40}, 5, 768)"),
    "less than no rows": npy("(-1, 5, 768)"),
    "minus times minus": npy("(-2, -5, 768)", values=bytes(30720)),
    "true for one": npy("(True, 5, 768)", values=bytes(15360)),
    "a text for a shape": npy("'many'"),
    "objects": npy("(1, 5, 768)", "'|O'", b"\x80\x04cos\nsystem\n."),
    "objects in a field": npy("(1,)", "[('a', '<f4'), ('b', '|O')]", bytes(12)),
    "a type of a terabyte": npy("(1,)", "'|V1000000000000'"),
    "brackets": npy("(" * 4000),
    "open brackets and lines": npy("(\n(\n"),
    "code": npy("__import__('os').system('true')"),
    "a type by code": npy("(1,)", "__import__('os')"),
    "nothing": b"",
    "magic": b"\x93NUMPY",
    "version 9": b"\x93NUMPY\x09\x00\x00\x00",
    "a header of 4 GiB": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
    "no text": npy("(1,)").replace(b"descr", b"d\xff\xfecr"),
    "python 2": npy("(1L, 5L, 768L)", values=bytes(15360)),
}


@pytest.mark.parametrize("how", HEADERS)
def test_headers_of_arrays_may_lie(opened: Callable[..., Ending], tmp_path: Path, how: str) -> None:
    """An array with a wrong header is refused in NPY, NPZ and a bank, and no code in it is evaluated."""
    (tmp_path / "a.npy").write_bytes(HEADERS[how])
    (tmp_path / "a.npz").write_bytes(npz(context_sequences=HEADERS[how]))
    for name in ("a.npy", "a.npz"):
        ending = opened("pack", tmp_path / name)
        assert ending.how == ("result" if how in {"python 2", "true for one"} else "refused")
    bank = made_bank(tmp_path)
    (bank / "vectors.npy").write_bytes(HEADERS[how])
    assert opened("bank", bank).how == "refused"


def test_an_archive_may_not_promise_what_it_cannot_hold(
    opened: Callable[..., Ending], tmp_path: Path
) -> None:
    """Rows that an archive only declares take no memory and no time."""
    data = npz(contexts=npy("(100000000000, 5, 768)"))
    at = data.rindex(b"PK\x01\x02")
    data = data[: at + 24] + struct.pack("<I", 2**32 - 2) + data[at + 28 :]
    (tmp_path / "a.npz").write_bytes(data)
    assert opened("pack", tmp_path / "a.npz").how == "refused"


def test_texts_of_a_megabyte_each_are_left_out(opened: Callable[..., Ending], tmp_path: Path) -> None:
    """An array of long blank strings is small when packed and fills the memory when unpacked, so it is left out."""
    contexts = io.BytesIO()
    np.save(contexts, windows()[0][:100])
    texts = npy("(100,)", "'<U250000'", bytes(10**8))
    (tmp_path / "a.npz").write_bytes(npz(contexts=contexts.getvalue(), lane=texts))
    assert opened("pack", tmp_path / "a.npz").said == {"rows": 100}


def made_bank(tmp_path: Path, *, index: Callable[..., bytes] | None = None) -> Path:
    """A bank of the sample's vectors."""
    pq.write_table(sample().slice(0, 60).select(["vector"]), tmp_path / "v.parquet")
    build_bank(find_files([str(tmp_path / "v.parquet")]), str(tmp_path / "bank"), build_index=index)
    return tmp_path / "bank"


BANKS: dict[str, Any] = {
    "count": [-1, 0, 10**30, 1e400, None, "60", [60], {}, 59, 60.5, float("nan")],
    "dim": [-1, 0, 10**30, float("inf"), None, [], 767],
    "digest": [None, 5, ["x"]],
    "index": [True, "yes", 1],
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in BANKS.items() for value in values]
)
def test_the_description_of_a_bank_may_lie(
    opened: Callable[..., Ending], tmp_path: Path, key: str, value: object
) -> None:
    """A bank whose description does not match its files is refused, or read as its files are."""
    bank = made_bank(tmp_path)
    meta = json.loads((bank / "bank.json").read_text())
    (bank / "bank.json").write_text(json.dumps(meta | {key: value}))
    ending = opened("bank", bank)
    assert ending.how == "refused" or ending.said == {"count": 60, "finite": True}


@pytest.mark.parametrize("content", ["[" * 100_000, "9" * 5000, '{"count": ' + "9" * 5000 + "}", "null", ""])
def test_a_banks_description_may_be_anything(
    opened: Callable[..., Ending], tmp_path: Path, content: str
) -> None:
    """A description that is not valid JSON is refused."""
    bank = made_bank(tmp_path)
    (bank / "bank.json").write_text(content)
    assert opened("bank", bank).how == "refused"


@pytest.mark.parametrize("name", ["bank.json", "vectors.npy"])
@pytest.mark.parametrize("target", ["/dev/null", "/etc/hostname", "nowhere", "."])
def test_links_in_a_bank_are_followed(
    opened: Callable[..., Ending], tmp_path: Path, name: str, target: str
) -> None:
    """A link in place of a bank's file is opened as the file it points to, and refused as such."""
    bank = made_bank(tmp_path)
    (bank / name).unlink()
    (bank / name).symlink_to(target)
    assert opened("bank", bank).how == "refused"


def test_changed_vectors_are_named_with_their_bank(opened: Callable[..., Ending], tmp_path: Path) -> None:
    """A bank whose vectors are no longer of unit norm is refused when it is searched."""
    bank = made_bank(tmp_path)
    content = bytearray((bank / "vectors.npy").read_bytes())
    content[-4:] = struct.pack("<f", float("nan"))
    (bank / "vectors.npy").write_bytes(content)
    assert "norm" in opened("bank", bank).said[0]


def test_an_invalid_index_is_refused(opened: Callable[..., Ending], tmp_path: Path) -> None:
    """Bytes that are not an index, or that declare more lists than fit the memory, are refused."""
    pytest.importorskip("faiss")
    from lvm_batch.lvm.search.faiss import build_faiss_index

    bank = made_bank(tmp_path, index=build_faiss_index)
    content = (bank / "faiss.index").read_bytes()
    assert opened("bank", bank).how == "result"
    for changed in (b"", b"IwFl", content[:100], content[:8] + b"\xff" * 8 + content[16:], b"\0" * 5000):
        (bank / "faiss.index").write_bytes(changed)
        assert opened("bank", bank).how == "refused"


def test_a_copy_is_not_changed_by_its_mutation() -> None:
    """Tests copy a footer's tree before they change it."""
    footer = {1: (thrift.I32, 5), 4: (thrift.LIST, (thrift.I64, [1, 2]))}
    changed = copy.deepcopy(footer)
    container, key = list(thrift.numbers(changed))[-1]
    thrift.put(container, key, 9)
    assert (footer[4][1][1], changed[4][1][1]) == ([1, 2], [1, 9])


@pytest.mark.parametrize("encoding", ["list", "large_list", "nested_list"])
def test_every_number_of_a_footer_may_lie(
    opened: Callable[..., Ending], tmp_path: Path, encoding: str
) -> None:
    """Whichever number of the footer is wrong, the file is refused, or read as the footer says."""
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"context": encode(windows()[0][:400:5], encoding)}), path)
    content, footer = path.read_bytes(), thrift.read_footer(path)
    levels = [id(element) for element in footer[2][1][1]]
    for index, (container, _) in enumerate(list(thrift.numbers(footer))):
        if id(container) in levels:
            continue  # see the next test
        changed = copy.deepcopy(footer)
        thrift.put(*list(thrift.numbers(changed))[index], 7)
        path.write_bytes(thrift.with_footer(path, changed))
        opened("dataset", path)
        path.write_bytes(content)


@pytest.mark.parametrize("column", range(4), ids=["vector", "article_id", "position", "lane"])
def test_the_type_of_a_chunk_may_contradict_its_column(
    opened: Callable[..., Ending], tmp_path: Path, column: int
) -> None:
    """Whichever column it is, its statistics are not read: the file is refused, or read as the schema says."""
    path = tmp_path / "lane=a/in.parquet"  # the lane in the file is compared with the folder's
    path.parent.mkdir()
    vectors = encode(windows()[0][:40, 0], "list")
    rows = {"vector": vectors, "article_id": [1] * 40, "position": range(40), "lane": ["b"] * 40}
    pq.write_table(pa.table(rows), path)
    footer = thrift.read_footer(path)
    (row_group,) = footer[4][1][1]
    chunk = row_group[1][1][1][column]
    thrift.put(chunk[3][1], 1, 7)  # the type in the chunk's metadata
    path.write_bytes(thrift.with_footer(path, footer))
    opened("inspect", path)


@pytest.mark.parametrize("n_rows", [4, 400])
def test_a_schema_may_contradict_its_statistics(
    opened: Callable[..., Ending], tmp_path: Path, n_rows: int
) -> None:
    """A list whose declared repetition differs from its histograms is refused, in small files and large ones."""
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"context": encode(windows()[0][:n_rows], "list")}), path)
    footer = thrift.read_footer(path)
    thrift.put(footer[2][1][1][1], 3, 7)
    path.write_bytes(thrift.with_footer(path, footer))
    assert opened("dataset", path).how == "refused"


@pytest.mark.parametrize(
    "how", ["a column is missing", "a column stands twice", "another codec", "text sizes"]
)
def test_row_groups_may_contradict_the_schema(
    opened: Callable[..., Ending], tmp_path: Path, how: str
) -> None:
    """Column chunks that are missing, surplus or of another type are refused, or read as the schema says."""
    path = dataset(tmp_path / "in.parquet")
    footer = thrift.read_footer(path)
    for group in footer[4][1][1]:
        chunks = group[1][1][1]
        if how == "a column is missing":
            chunks.pop()
        elif how == "a column stands twice":
            chunks.append(chunks[-1])
        elif how == "another codec":
            thrift.put(chunks[-1][3][1], 4, 99)
        else:
            chunks[-1][3][1][16] = (thrift.STRUCT, {1: (thrift.I64, 5)})
    path.write_bytes(thrift.with_footer(path, footer))
    assert opened("dataset", path).how == ("result" if how == "a column stands twice" else "refused")
