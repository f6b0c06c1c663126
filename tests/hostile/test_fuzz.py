"""Tests with files mutated at random: each gives a clear error or a correct result, and none kills the process.

Every run tries the same mutations; ``FUZZ_EXAMPLES=5000 pytest tests/hostile/test_fuzz.py`` tries other and more
ones.
"""

from __future__ import annotations

import copy
import io
import json
import shutil
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import strategies as st
from support import thrift
from support.datasets import sample, windows, write_windows

from lvm_batch.io.bank.bank import build_bank
from lvm_batch.io.dataset.files import find_files
from lvm_batch.jobs.settings.run import SETTINGS
from lvm_batch.lvm import build_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.victim import Victim

pytestmark = pytest.mark.slow

MAX_BYTES, MAX_CPU_S = 2**30, 15
fuzzed = hypothesis.settings.get_profile("hostile")

SMALL = {
    "amn": {"input_dim": 12, "d_model": 4, "hidden_dim": 6},
    "gru": {"input_dim": 12, "d_model": 4, "num_layers": 2},
    "lstm": {"input_dim": 12, "hidden_dim": 4, "num_layers": 1},
}


def must_end_well(victim: Victim, kind: str, path: Path, **options: Any) -> None:  # noqa: ANN401
    """Check for a result, or an error with the file's name and a hint, within limits of time and memory."""
    ending = victim.open(kind, path, **options)
    assert ending.how in {"result", "refused"}, ending.said
    assert ending.peak_bytes < MAX_BYTES
    assert ending.cpu_s < MAX_CPU_S
    if ending.how == "result" and kind == "dataset":
        assert ending.said["out"] == ending.said["promised"]
    if ending.how == "refused" and "footer promised" not in ending.said[0]:
        assert str(path) in " ".join(map(str, ending.said))
        assert all(ending.said[:2])


@st.composite
def mutations(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """A few byte changes at relative positions, as often near the ends of the file as elsewhere."""
    share = st.floats(0, 1) | st.floats(0, 0.02) | st.floats(0.98, 1)
    steps = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["flip", "set", "cut", "copy", "insert", "end"]),
                share,
                share,
                st.binary(min_size=1, max_size=8),
            ),
            min_size=1,
            max_size=4,
        )
    )

    def mutate(content: bytes) -> bytes:
        changed = bytearray(content)
        for how, there, from_there, value in steps:
            at, source = int(there * len(changed)), int(from_there * len(changed))
            match how:
                case "flip":
                    changed[at : at + 1] = bytes(byte ^ value[0] for byte in changed[at : at + 1])
                case "set":
                    changed[at : at + len(value)] = value
                case "cut":
                    del changed[at : at + 8 * value[0] + 1]
                case "copy":
                    changed[at : at + 16] = changed[source : source + 16]
                case "insert":
                    changed[at:at] = value
                case "end":
                    del changed[max(at, 1) :]
        return bytes(changed)

    return mutate


@cache
def datasets(folder: Path) -> list[Path]:
    """Small datasets in both layouts and several encodings."""
    contexts, targets = windows()
    columns = {
        "lane": pa.array(["chat", None, "é"] * 4).dictionary_encode(),
        "context_tokens": list(range(12)),
    }
    paths = [
        write_windows(
            folder / f"{how}.parquet", contexts[:12], targets[:12],
            encoding=how, row_group_rows=5, columns=columns,
        )
        for how in ("fixed_size_list", "nested_list", "binary")
    ]  # fmt: skip
    pq.write_table(sample().slice(0, 30), folder / "sequences.parquet", row_group_size=11)
    return [*paths, folder / "sequences.parquet"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which mutated files are written, one after the other."""
    return tmp_path_factory.mktemp("fuzz")


@fuzzed
@hypothesis.given(
    number=st.integers(0, 3), mutate=mutations(), kind=st.sampled_from(["dataset", "inspect", "pack"])
)
def test_mutated_bytes_of_a_dataset(
    victim: Victim, folder: Path, number: int, mutate: Callable[[bytes], bytes], kind: str
) -> None:
    """Bytes are flipped, cut and moved, in pages and footer."""
    path = folder / "mutated.parquet"
    path.write_bytes(mutate(datasets(folder)[number].read_bytes()))
    must_end_well(victim, kind, path)


@fuzzed
@hypothesis.given(
    number=st.integers(0, 3),
    lies=st.lists(
        st.tuples(
            st.floats(0, 1),
            st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 20) | st.sampled_from([2**31 - 1, 2**31, 2**62]),
        ),
        min_size=1, max_size=3,
    ),
    pad=st.sampled_from([None, "zero", "repeat"]),
)  # fmt: skip
def test_mutated_numbers_of_a_footer(
    victim: Victim, folder: Path, number: int, lies: list[tuple[float, int]], pad: str | None
) -> None:
    """Numbers are replaced in an otherwise valid footer."""
    original, path = datasets(folder)[number], folder / "lying.parquet"
    footer = copy.deepcopy(thrift.read_footer(original))
    levels = {
        id(element) for element in footer[2][1][1]
    }  # these kill the process inside pyarrow: see test_hostile_files
    for place, lie in lies:
        places = [found for found in thrift.numbers(footer) if id(found[0]) not in levels]
        thrift.put(*places[int(place * (len(places) - 1))], lie)
    path.write_bytes(thrift.with_footer(original, footer))
    must_end_well(victim, "dataset", path, pad=pad)


@cache
def checkpoints() -> list[bytes]:
    """Small checkpoints of several architectures, in the new and the old format."""
    files = []
    for name, dimensions in SMALL.items():
        content = {
            "model_type": name,
            "model_state_dict": build_model(name, seed=0, **dimensions).state_dict(),
            "args": {"out": Path("a/b"), "lr": 0.1},
            "model_config": dict(dimensions),
        }
        for zipped in (True, False):
            file = io.BytesIO()
            torch.save(content, file, _use_new_zipfile_serialization=zipped)
            files.append(file.getvalue())
    return files


@fuzzed
@hypothesis.given(number=st.integers(0, 5), mutate=mutations())
def test_mutated_bytes_of_a_checkpoint(
    victim: Victim, folder: Path, number: int, mutate: Callable[[bytes], bytes]
) -> None:
    """Bytes are flipped, cut and moved in pickles, archives and weights."""
    path = folder / "mutated.pt"
    path.write_bytes(mutate(checkpoints()[number]))
    must_end_well(victim, "checkpoint", path)


@cache
def arrays() -> list[bytes]:
    """NPZ files, stored and compressed, and an NPY file."""
    contexts, targets = (rows[:4] for rows in windows())
    files = []
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, context_sequences=contexts, target_vectors=targets, lane=np.array(list("abcd")))
        files.append(file.getvalue())
    file = io.BytesIO()
    np.save(file, contexts)
    return [*files, file.getvalue()]


@fuzzed
@hypothesis.given(number=st.integers(0, 2), mutate=mutations())
def test_mutated_bytes_of_arrays(
    victim: Victim, folder: Path, number: int, mutate: Callable[[bytes], bytes]
) -> None:
    """Bytes are flipped, cut and moved in archives and headers."""
    path = folder / "mutated.npz"
    path.write_bytes(mutate(arrays()[number]))
    must_end_well(victim, "pack", path)


@cache
def bank(folder: Path) -> Path:
    """A bank, with an index if faiss is installed."""
    from lvm_batch.lvm.search.faiss import build_faiss_index

    pq.write_table(sample().slice(0, 60).select(["vector"]), folder / "v.parquet")
    try:
        import faiss  # noqa: F401
    except ImportError:
        build_bank(find_files([str(folder / "v.parquet")]), str(folder / "bank"))
    else:
        build_bank(
            find_files([str(folder / "v.parquet")]), str(folder / "bank"), build_index=build_faiss_index
        )
    return folder / "bank"


@fuzzed
@hypothesis.given(name=st.sampled_from(["bank.json", "vectors.npy", "faiss.index"]), mutate=mutations())
def test_mutated_bytes_of_a_bank(
    victim: Victim, folder: Path, name: str, mutate: Callable[[bytes], bytes]
) -> None:
    """Bytes are flipped, cut and moved in any file of a bank."""
    whole, path = bank(folder), folder / "mutated_bank"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(whole, path)
    if not (path / name).exists():
        name = "vectors.npy"
    (path / name).write_bytes(mutate((path / name).read_bytes()))
    must_end_well(victim, "bank", path)


values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(2**70), 2**70) | st.text(max_size=20)
    | st.sampled_from(["64EiB", "1e400", "nan", "-0", "٣", "=", "a=b", "\x1b[2J", "9" * 5000]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


def as_toml(value: Any) -> str:  # noqa: ANN401 - what `values` makes
    """A value as TOML; a value that TOML cannot express becomes an empty string."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {as_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps("" if value is None else value)


@fuzzed
@hypothesis.given(
    settings=st.dictionaries(st.sampled_from(SETTINGS) | st.text(max_size=10), values, min_size=1, max_size=4)
)
def test_settings_of_any_value(victim: Victim, folder: Path, settings: dict[str, Any]) -> None:
    """Each setting gets any value that TOML can hold."""
    path = folder / "any.toml"
    lines = [f"{json.dumps(name)} = {as_toml(value)}" for name, value in settings.items()]
    path.write_bytes("\n".join(lines).encode("utf-8", "replace"))
    must_end_well(victim, "config", path)


@fuzzed
@hypothesis.given(mutate=mutations())
def test_mutated_bytes_of_a_settings_file(
    victim: Victim, folder: Path, mutate: Callable[[bytes], bytes]
) -> None:
    """The settings file is no longer TOML, or not text."""
    path = folder / "mutated.toml"
    path.write_bytes(mutate(b'dataset = ["a", "b"]\nunit-size = "64MiB"\nworkers = 3\nrename = ["a=b"]\n'))
    must_end_well(victim, "config", path)


def test_files_that_are_not_mutated_are_read(victim: Victim, folder: Path) -> None:
    """An unchanged file of each kind gives a result, so that the refusals above mean something."""
    untouched = [("dataset", path) for path in datasets(folder)] + [("bank", bank(folder))]
    for number, content in enumerate(checkpoints()):
        (folder / f"{number}.pt").write_bytes(content)
        untouched.append(("checkpoint", folder / f"{number}.pt"))
    for number, content in enumerate(arrays()):
        (folder / f"{number}.npz").write_bytes(content)
        untouched.append(("pack", folder / f"{number}.npz"))
    assert {victim.open(kind, path).how for kind, path in untouched} == {"result"}
