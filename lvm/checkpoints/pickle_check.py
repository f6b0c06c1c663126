"""A check of a checkpoint's pickles before they are loaded.

The rule: a pickle that passes names only weights, plain values and paths, and takes no more memory and no more work to
hash and compare than its size suggests. Torch's safe loading runs no code, but it builds whatever a pickle describes:
tuples whose hash takes years, tensors of a terabyte, archives that unpack to one. Nothing is loaded here.
"""

from __future__ import annotations

import io
import pickletools
import re
import struct
import warnings
import zipfile
from typing import TYPE_CHECKING, Any

from lvm_batch.lvm.checkpoints.file_kinds import damage_error, describe_archive
from lvm_batch.lvm.checkpoints.stand_ins import STAND_INS
from lvm_batch.lvm.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_PICKLE_BYTES = 2**20  # production's have a few ten thousand bytes
_MAX_DEPTH = 64  # hashing tuples recurses on the C stack
_MAX_VALUES = 10**6  # counted once per reference, as hashing and printing visit them
_MAX_INT_BYTES = 9  # 64 bits and a sign; any number of longer ones share a hash
_MAX_PROTOCOL = 3  # torch's safe loading has no opcodes of later ones
_MAX_RECORDS = 10_000
_LEGACY_MAGIC_BYTES = 15
_N_LEGACY_PICKLES = 4  # version, system, content, keys of the storages after them

_ZIP_ENTRY = b"PK\x01\x02"
_PLAIN = re.compile(
    r"collections\.(OrderedDict|Counter)|_codecs\.encode|builtins\.(set|complex)"
    r"|torch\.(Size|device|(b?float|q?u?int|complex|bits|bool)\w*|(cuda\.)?[A-Z]\w+Storage)"
    r"|torch\.serialization\._get_layout"
    r"|torch\.storage\.(Untyped|Typed)Storage|torch\.nn\.parameter\.Parameter"
    r"|torch\._utils\._rebuild_(tensor|tensor_v2|tensor_v3|parameter|sparse_tensor)"
    + "".join(f"|{re.escape(name)}" for name in STAND_INS)
)
_IN_PLACE = {"APPEND", "APPENDS", "SETITEM", "SETITEMS", "BUILD", "ADDITEMS"}
_KEEPS = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_FETCHES = {"GET", "BINGET", "LONG_BINGET"}
_BROKEN = (
    zipfile.BadZipFile,
    ValueError,
    LookupError,
    ArithmeticError,
    EOFError,
    NotImplementedError,
    OSError,
    StopIteration,
    struct.error,
)
_MODULES = b"torch.nn.modules."  # every pickled model names classes of these modules
_LINE = 80
_STATE_DICT = "save the weights of the model alone: torch.save(model.state_dict(), path)"
_RESAVE = "save weights, plain values and paths only, with torch.save"


def check_pickles(data: bytes, name: str) -> None:
    """Raise CheckpointError, naming the file ``name``, unless the bytes of a torch file may be loaded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes in names
            for pickled in _zipped(data, name) if data.startswith(b"PK") else _legacy(data):
                _Program(name).follow(pickled)
    except _BROKEN as error:
        raise damage_error(data, name) from error


def _zipped(data: bytes, name: str) -> Iterator[bytes]:
    """Check the archive and yield its pickle."""
    if data.count(_ZIP_ENTRY) > _MAX_RECORDS:
        raise CheckpointError(f"{name}: an archive of more than {_MAX_RECORDS:,} parts", _RESAVE)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if kind := describe_archive(archive):
            raise CheckpointError(f"{name}: {kind[0]}", kind[1])
        records = archive.infolist()
        if len({record.orig_filename.casefold() for record in records}) < len(records):
            raise CheckpointError(f"{name}: an archive with two parts of the same name", _RESAVE)
        packed = any(record.compress_type != zipfile.ZIP_STORED for record in records)
        if packed or sum(record.file_size for record in records) > len(data):
            message = f"{name}: an archive that unpacks to more than it holds"
            raise CheckpointError(message, "store it uncompressed, as torch.save does")
        pickles = [record for record in records if record.orig_filename.casefold().endswith(".pkl")]
        if any(record.orig_filename.casefold().endswith("constants.pkl") for record in pickles):
            raise CheckpointError(f"{name}: TorchScript, which is code, not weights", _STATE_DICT)
        for record in pickles:
            _refuse_large(record.file_size, name)
            yield archive.read(record)


def _legacy(data: bytes) -> Iterator[bytes]:
    """Yield the consecutive pickles after the magic number, in a file from before torch 1.6."""
    first = _LEGACY_MAGIC_BYTES
    for _ in range(_N_LEGACY_PICKLES):
        rest = data[first : first + _MAX_PICKLE_BYTES + 1]
        yield rest
        first += _length(rest)


def _length(pickled: bytes) -> int:
    return 1 + next(at or 0 for opcode, _, at in pickletools.genops(pickled) if opcode.name == "STOP")


def _refuse_large(n_bytes: int, name: str) -> None:
    if n_bytes > _MAX_PICKLE_BYTES:
        raise CheckpointError(
            f"{name}: a pickle of {n_bytes:,} bytes, although some ten thousand are enough to describe weights",
            _RESAVE,
        )


class _Value:
    """A value on the pickle's stack: how many values it is made of, and how deeply nested."""

    __slots__ = ("depth", "size")

    def __init__(self) -> None:
        self.size = self.depth = 1

    def hold(self, inner: list[_Value]) -> None:
        self.size += sum(value.size for value in inner)
        self.depth = max([self.depth, *(value.depth + 1 for value in inner)])


class _Program:
    """Follows a pickle like its loader, with sizes in place of values."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._is_model = False
        self._stack: list[_Value | None] = []  # None is a mark
        self._memo: dict[int, _Value] = {}

    def follow(self, pickled: bytes) -> None:
        """Raise CheckpointError if it must not be loaded, ValueError or LookupError if it is damaged."""
        self._is_model = _MODULES in pickled
        for opcode, argument, at in pickletools.genops(pickled):
            _refuse_large(at or 0, self._name)
            self._step(opcode, argument)

    def _step(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:  # noqa: ANN401 - each opcode's own
        if opcode.name in _KEEPS:
            self._memo[len(self._memo) if argument is None else argument] = self._top()
        elif opcode.name in _FETCHES:
            self._stack.append(self._memo[argument])
        else:
            self._refuse(opcode.name, argument)
            self._build(opcode)

    def _build(self, opcode: pickletools.OpcodeInfo) -> None:
        popped = self._pop(opcode)
        for number, kind in enumerate(opcode.stack_after):
            in_place = number == 0 and opcode.name in _IN_PLACE
            value = popped.pop(0) if in_place else _Value()
            value.hold(popped)
            if value.size > _MAX_VALUES or value.depth > _MAX_DEPTH:
                raise CheckpointError(f"{self._name}: values nested too deeply", _RESAVE)
            self._stack.append(None if kind is pickletools.markobject else value)

    def _pop(self, opcode: pickletools.OpcodeInfo) -> list[_Value]:
        """Pop the opcode's arguments; a slice of the stack reaches down to the last mark."""
        popped: list[_Value] = []
        for kind in reversed(opcode.stack_before):
            if kind is pickletools.stackslice:
                while (value := self._stack.pop()) is not None:
                    popped.append(value)
            elif kind is not pickletools.markobject:
                popped.append(self._top())
                self._stack.pop()
        return popped[::-1]

    def _top(self) -> _Value:
        value = self._stack[-1]
        if value is None:
            raise ValueError("a mark where a value should be")
        return value

    def _refuse(self, opcode: str, argument: Any) -> None:  # noqa: ANN401
        if opcode in {"GLOBAL", "INST"} and not _PLAIN.fullmatch(full := argument.replace(" ", ".")):
            raise CheckpointError(
                f"{self._name}: holds more than weights, plain values and paths: {self._describe(full)}",
                _STATE_DICT if self._is_model else _RESAVE,
            )
        if opcode == "PROTO" and argument > _MAX_PROTOCOL:
            raise CheckpointError(
                f"{self._name}: pickled with protocol {argument}, torch's own is 2", _RESAVE
            )
        if isinstance(argument, int) and argument.bit_length() > _MAX_INT_BYTES * 8:
            raise CheckpointError(f"{self._name}: a whole number of {argument.bit_length()} bits", _RESAVE)

    def _describe(self, full: str) -> str:
        """Describe a refused name, and what it is part of."""
        if full.startswith("torch.distributed."):
            return f"{printable(full)}, part of a model that is spread over several devices"
        return (
            f"{printable(full)}, of a whole model, and loading that would run its code"
            if self._is_model
            else printable(full)
        )


def printable(value: object) -> str:
    """Return a name from a file as messages show it: short, and on one line."""
    text = value if isinstance(value, str) else f"a {type(value).__name__}"
    return text if len(text) <= _LINE and text.isprintable() else ascii(text[:_LINE])
