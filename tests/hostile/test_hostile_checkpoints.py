"""Tests of checkpoints made to run code, fill the memory, run forever or crash the process that loads them."""

from __future__ import annotations

import argparse
import collections
import io
import os
import pathlib
import re
import warnings
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from lvm_batch.lvm import build_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.victim import Ending, Victim

pytestmark = pytest.mark.slow

MAX_CPU_S, MAX_BYTES = 10, 2**28


class Payload:
    """An object whose unpickling calls a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:  # noqa: ANN401
        self._call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._call


class Loaded(collections.OrderedDict[str, torch.Tensor]):
    """A state dict that sets attributes of its own."""

    def __reduce__(self) -> Any:  # noqa: ANN401
        own = {"items": 5, "keys": torch.Size, "get": None}
        return collections.OrderedDict, (), own, None, iter(dict.items(self))


def weights() -> dict[str, torch.Tensor]:
    """The weights of a small AMN."""
    return build_model("amn", seed=0, input_dim=12, d_model=4, hidden_dim=6).state_dict()


def saved(content: object, *, zipped: bool = True) -> bytes:
    """The bytes that torch.save writes."""
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def archive(pickled: bytes, *, packed: bool = False, **records: bytes) -> bytes:
    """A file in the format of torch.save, around any pickle."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as written:
        written.writestr("a/data.pkl", b"\x80\x02" + pickled)
        written.writestr("a/version", "3\n")
        for name, content in records.items():
            written.writestr(f"a/data/{name}", content)
    return file.getvalue()


def with_weight(value: torch.Tensor) -> bytes:
    """A checkpoint with one weight replaced."""
    return saved({"model_state_dict": weights() | {"query_encoder.bias": value}})


def opened(victim: Victim, tmp_path: pathlib.Path, data: bytes) -> Ending:
    """Have the file loaded, within limits of time and memory."""
    path = tmp_path / "hostile.pt"
    path.write_bytes(data)
    ending = victim.open("checkpoint", path)
    assert ending.how in {"result", "refused"}, ending.said
    assert ending.cpu_s < MAX_CPU_S
    assert ending.peak_bytes < MAX_BYTES
    if ending.how == "refused":
        message, hint = ending.said
        assert message.startswith(str(path))
        assert message.isprintable()
        assert hint
    return ending


CALLS = {
    "os.system": (os.system, "touch {}"),
    "eval": (eval, "open('{}', 'w')"),
    "exec": (exec, "open('{}', 'w')"),
    "open": (open, "{}", "w"),
    "mkdir": (os.mkdir, "{}"),
    "Path.touch": (pathlib.Path.touch, pathlib.Path("{}")),
    "torch.load": (torch.load, "{}"),
    "__import__": (__import__, "antigravity"),
    "getattr": (getattr, os, "system"),
}


@pytest.mark.parametrize(
    ("call", "where", "zipped"),
    [
        *(
            ("os.system", where, zipped)
            for where in ("top", "list", "tuple", "key", "args", "config", "weights", "build")
            for zipped in (True, False)
        ),
        ("open", "top", True),
        ("open", "weights", False),
        ("Path.touch", "config", True),
        ("Path.touch", "top", False),
    ],
)
def test_a_payload_anywhere_runs_nothing(
    victim: Victim, tmp_path: pathlib.Path, call: str, where: str, *, zipped: bool
) -> None:
    """A function call at any depth, in the new or the old format, is refused by name and not executed."""
    function, *arguments = CALLS[call]
    ran = tmp_path / "ran"
    payload = Payload(function, *(type(a)(str(a).format(ran)) for a in arguments))
    content = {
        "top": payload,
        "list": {"model_state_dict": weights(), "args": [[[payload]]]},
        "tuple": {"model_state_dict": weights(), "epoch": (1, (2, payload))},
        "key": {"model_state_dict": weights(), payload: 1},
        "args": {"model_state_dict": weights(), "args": {"out": payload}},
        "config": {"model_state_dict": weights(), "model_config": {"d_model": payload}},
        "weights": {"model_state_dict": weights() | {"query_encoder.bias": payload}},
        "build": {"model_state_dict": weights(), "optimizer_state_dict": Payload(Payload, payload)},
    }[where]
    ending = opened(victim, tmp_path, saved(content, zipped=zipped))
    assert ending.how == "refused"
    assert "holds more than weights, plain values and paths: " in ending.said[0]
    assert not ran.exists()


@pytest.mark.parametrize("call", [name for name in CALLS if name not in {"os.system", "open", "Path.touch"}])
def test_no_function_is_called(victim: Victim, tmp_path: pathlib.Path, call: str) -> None:
    """There is no list of dangerous functions: everything except weights and paths is refused."""
    function, *arguments = CALLS[call]
    arguments = [a.format(tmp_path / "ran") if isinstance(a, str) else a.__name__ for a in arguments]
    data = saved({"model_state_dict": weights(), "args": Payload(function, *arguments)})
    assert opened(victim, tmp_path, data).how == "refused"
    assert not (tmp_path / "ran").exists()


DEEP = b")" + b"\x85" * 200_000
LAUGHS = b")" + b"".join(b"q" + bytes([n]) + b"h" + bytes([n]) + b"\x86" for n in range(60))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(lambda: archive(b"}" + DEEP + b"K\x01s."), id="a key as deep as the stack"),
        pytest.param(lambda: archive(DEEP + b"q\x00}h\x00K\x01s."), id="the same, from the memo"),
        pytest.param(lambda: archive(b"}" + LAUGHS + b"K\x01s."), id="a key of 2**60 values"),
        pytest.param(lambda: archive(b"}X\x0a\x00\x00\x00model_type" + LAUGHS + b"s."), id="a text of 2**60"),
        pytest.param(lambda: archive(b"}X\xff\xff\xff\x7fabc."), id="a text of 2 GiB that is not there"),
        pytest.param(lambda: archive(b"}" + b"N0" * 500_000 + b"."), id="a million steps"),
        pytest.param(lambda: archive(b"}" + b"N0" * 5_000_000 + b"."), id="ten million steps"),
        pytest.param(lambda: archive(b"0000."), id="an empty stack"),
        pytest.param(lambda: archive(b"}"), id="no end"),
        pytest.param(lambda: archive(b"(((("), id="marks only"),
        pytest.param(lambda: archive(b"}h\x07."), id="a memo that is not there"),
        pytest.param(lambda: archive(b"}" + b"\x8a\xff" + b"\x01" * 255 + b"K\x01s."), id="2,040 bits"),
        pytest.param(lambda: archive(b"}.", packed=True, zero=bytes(2**28)), id="a zip bomb of weights"),
        pytest.param(lambda: archive(b"N" * 2**28, packed=True), id="a zip bomb of a pickle"),
        pytest.param(lambda: archive(b"}.", **{f"{n}": b"" for n in range(12_000)}), id="12,000 parts"),
        pytest.param(
            lambda: with_weight(torch.zeros(1).as_strided((10**11,), (0,))), id="a stride of zero"
        ),
        pytest.param(lambda: with_weight(torch.empty(10**13, device="meta")), id="a tensor of nothing"),
        pytest.param(lambda: with_weight(torch.zeros(0)), id="a tensor of no values"),
        pytest.param(lambda: saved({"model_state_dict": {1: torch.zeros(2)}}), id="keys that are numbers"),
        pytest.param(
            lambda: saved({"model_state_dict": {"\x1b[2J\n" * 99: torch.zeros(2)}}), id="keys for a terminal"
        ),
        pytest.param(lambda: saved(Payload(bytearray, 10**11)), id="an allocation"),
        pytest.param(
            lambda: saved({"a": Payload(torch.LongStorage, 10**9)}, zipped=False), id="a storage alone"
        ),
    ],
)  # fmt: skip
def test_declared_sizes_take_no_time_or_memory(
    victim: Victim, tmp_path: pathlib.Path, data: Callable[[], bytes]
) -> None:
    """Numbers, depths and sizes that a file only declares cost no time or memory and do not kill the process."""
    assert opened(victim, tmp_path, data()).how == "refused"


@pytest.mark.parametrize(
    "number", [b"J\xff\xff\xff\x7f", b"\x8a\x05\xff\xff\xff\xff\x0f", b"J\x00\x00\x00\x10"]
)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_sizes_of_storages_may_lie(
    victim: Victim, tmp_path: pathlib.Path, number: bytes, *, zipped: bool
) -> None:
    """A storage that declares more values than the file holds is refused, and nothing outside it is read."""
    data = saved(weights(), zipped=zipped)
    lying = re.sub(rb"(cpuq.)K.", lambda found: found[1] + number, data, flags=re.DOTALL)
    if zipped:
        with zipfile.ZipFile(io.BytesIO(data)) as whole:
            pickled = whole.read("archive/data.pkl")[2:]
            parts = {
                name.rpartition("/")[2]: whole.read(name) for name in whole.namelist() if "/data/" in name
            }
        lying = archive(
            re.sub(rb"(cpuq.)K.", lambda found: found[1] + number, pickled, flags=re.DOTALL), **parts
        )
    assert lying != data
    assert opened(victim, tmp_path, lying).how == "refused"


@pytest.mark.parametrize("name", ["a/DATA.PKL", "a/data.pkl"])
def test_a_second_pickle_of_the_same_name_is_refused(
    victim: Victim, tmp_path: pathlib.Path, name: str
) -> None:
    """With two parts of the same name, in any case, it is ambiguous which one is loaded, so the file is refused."""
    data = io.BytesIO(archive(b"}."))
    with warnings.catch_warnings(), zipfile.ZipFile(data, "a") as file:
        warnings.simplefilter("ignore")  # of the second name
        file.writestr(name, b"\x80\x02}.")
    ending = opened(victim, tmp_path, data.getvalue())
    assert (ending.how, "two parts of the same name" in ending.said[0]) == ("refused", True)


def test_attributes_of_a_dict_are_ignored(victim: Victim, tmp_path: pathlib.Path) -> None:
    """An OrderedDict that overrides its own methods is loaded as a plain dict."""
    content = {"model_state_dict": Loaded(weights()), "epoch": 2**60, "val_cosine": float("nan")}
    ending = opened(victim, tmp_path, saved(content))
    assert ending.said == {"architecture": "amn", "shape": [2, 12]}


def test_newer_pickle_protocols_are_named(victim: Victim, tmp_path: pathlib.Path) -> None:
    """A file saved with another pickle_protocol is reported as such, not as damaged."""
    file = io.BytesIO()
    torch.save(weights(), file, pickle_protocol=4)
    assert "protocol 4" in opened(victim, tmp_path, file.getvalue()).said[0]


class OfNumpy:
    """A scalar or array as NumPy pickles it, with parts chosen by the attacker."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...], state: object) -> None:
        self._reduced = (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._reduced


SCALAR, ARRAY = np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(lambda: Payload(SCALAR, np.dtype("O"), b"cos\nsystem\n."), id="a scalar of objects"),
        pytest.param(lambda: Payload(SCALAR, np.dtype("V2147483647")), id="a scalar of 2 GiB"),
        pytest.param(lambda: Payload(SCALAR, Payload(np.dtype, "f8,O"), b"x"), id="a type of several"),
        pytest.param(lambda: Payload(SCALAR), id="a scalar of nothing"),
        pytest.param(lambda: Payload(np.dtype, [("a", "O", 10**9)]), id="a type that is a list"),
        pytest.param(lambda: OfNumpy(np.dtype, ("f8",), (3, "<", None, None, None, -9, -9, 63)), id="a type's state"),
        pytest.param(lambda: Payload(ARRAY, np.ndarray, (10**12,), b"b"), id="an array of a terabyte"),
        pytest.param(
            lambda: OfNumpy(ARRAY, (np.ndarray, (0,), b"b"), (1, (2**40,), np.dtype("O"), False, [1])),
            id="an array of objects",
        ),
        pytest.param(lambda: OfNumpy(argparse.Namespace, (), {"__class__": 5}), id="a namespace's class"),
    ],
)  # fmt: skip
def test_numpy_objects_are_not_created(
    victim: Victim, tmp_path: pathlib.Path, odd: Callable[[], object]
) -> None:
    """Scalars, types and arrays beside the weights are never created, whatever they declare."""
    ending = opened(victim, tmp_path, saved({"model_state_dict": weights(), "best": odd()}))
    assert ending.said == {"architecture": "amn", "shape": [2, 12]}


@pytest.mark.parametrize("call", [np.load, np.frombuffer, np.fromfile, np.lib.npyio.NpzFile])
def test_other_numpy_functions_are_refused(
    victim: Victim, tmp_path: pathlib.Path, call: Callable[..., Any]
) -> None:
    """Functions of NumPy that read files are refused too."""
    data = saved({"model_state_dict": weights(), "best": Payload(call, "/etc/passwd")})
    assert "holds more than weights" in opened(victim, tmp_path, data).said[0]
