"""The kind of a file that was given as a checkpoint: safetensors, or one that is no checkpoint.

The rule: the first bytes decide; nothing is decoded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvm_batch.lvm.errors import CheckpointError

if TYPE_CHECKING:
    import zipfile

RESAVE = 'save it again as torch.save({"model_type": …, "model_state_dict": model.state_dict()}, path)'

_AGAIN = "download the file again, and compare its size with that of the source"
_SAVE = 'load it where it was made, then save its weights: torch.save({"model_state_dict": model.state_dict()}, path)'

_BEGINNINGS = (
    (
        b"version https://git-lfs",
        "is a Git LFS pointer, not the file that it stands for",
        "fetch it: git lfs pull",
    ),
    (b"<", "is an HTML or XML page, which a server may send instead of the file", _AGAIN),
    (b"\x89HDF", "is an HDF5 file, as Keras writes it", _SAVE),
    (b"\x1f\x8b", "is compressed with gzip", "unpack it: gunzip"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd", "unpack it: zstd -d"),
    (
        b"PAR1",
        "is a Parquet file",
        "give the checkpoint of a model; datasets and banks have options of their own",
    ),
    (b"\x93NUMPY", "is an array of numpy", _SAVE),
    (b"PK\x05\x06", "is an empty zip archive", _AGAIN),
    (b"\x80", "is a pickle, but not one of torch.save", _SAVE),
)
HEADER_BYTES = 8
"""The bytes of the length with which a safetensors file begins."""

_LONGEST_HEADER = 2**40  # more is text: the library reads 100 MB
_TORCH_FILES = (b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")  # zip; before torch 1.6


def is_safetensors(data: bytes) -> bool:
    """Return whether bytes begin as a safetensors file does, be it damaged or not: with a length, and JSON."""
    return (
        data[HEADER_BYTES : HEADER_BYTES + 1] == b"{"
        and int.from_bytes(data[:HEADER_BYTES], "little") < _LONGEST_HEADER
    )


def damage_error(data: bytes, name: str) -> CheckpointError:
    """Return the error for a file of ``torch.save`` that is incomplete or makes no sense."""
    return CheckpointError(
        f"{name}: damaged or cut short ({len(data):,} bytes)", "copy or save the file again"
    )


def refuse_other_files(data: bytes, name: str) -> None:
    """Raise CheckpointError, naming the file ``name``, unless ``torch.save`` may have written its bytes."""
    if not data.startswith(_TORCH_FILES):
        what, hint = describe_file(data) or ("begins with unknown bytes", RESAVE)
        raise CheckpointError(
            f"{name}: not a torch.save or safetensors file ({len(data):,} bytes): it {what}", hint
        )


def describe_file(data: bytes) -> tuple[str, str] | None:
    """Return the kind of a file, as a phrase, and a hint; None if the bytes do not show it."""
    if not data:
        return "is empty", _AGAIN
    beginning = data[:100].lstrip()
    return next(((what, hint) for start, what, hint in _BEGINNINGS if beginning.startswith(start)), None)


def describe_archive(archive: zipfile.ZipFile) -> tuple[str, str] | None:
    """Return the kind of an archive, as a phrase, and a hint; None if ``torch.save`` wrote it."""
    names = archive.namelist()
    if any(name.rpartition("/")[2].casefold() == "data.pkl" for name in names):
        return None
    contents = ", ".join(name if name.isprintable() else ascii(name) for name in names[:3]) or "nothing"
    return f"is a zip archive, but not one of torch.save: it holds {contents[:200]}", _SAVE
