"""NPY files that belong together: vectors, and beside them, in the same folder, ids and other values of their rows.

The rule: a file of one value a row belongs to the vectors that share the rest of its name, as `ids_3.npy` does to
`vectors_3.npy`, or to the only vectors of its folder; a file that belongs to none is refused by name.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lvm_batch.io.discovery.part_names import is_like_target, is_like_vector
from lvm_batch.io.errors import ColumnError
from lvm_batch.io.formats.numpy_files import open_npy
from lvm_batch.io.packing.numpy_roles import unfit
from lvm_batch.io.packing.numpy_shapes import check_width, context_shape, is_single, single_shape
from lvm_batch.io.schema import WindowShape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from lvm_batch.io.dataset.files import InputFile
    from lvm_batch.io.formats.numpy_files import Header, NpyArray
    from lvm_batch.io.packing.sources import Reading

_BETWEEN = re.compile(r"[-_. ]+|(?<=[a-zA-Z])(?=[0-9])")
_USUAL = WindowShape()


@dataclass(frozen=True, slots=True)
class FileGroup:
    """The file of vectors, the ``companions`` beside it, and the arrays of all by the names of their columns.

    ``vectors`` are the columns of vectors, ``shape`` is that of a row of the first.
    """

    file: InputFile
    companions: tuple[InputFile, ...]
    arrays: Mapping[str, NpyArray]
    vectors: tuple[str, ...]
    shape: WindowShape


def group_files(files: Iterable[InputFile], reading: Reading) -> list[FileGroup]:
    """Find the files that belong together; raises :class:`ColumnError` for one that belongs nowhere."""
    folders: dict[str, list[InputFile]] = defaultdict(list)
    for file in files:
        folders[posixpath.dirname(file.path)].append(file)
    return [group for folder in folders.values() for group in _groups(folder, reading)]


def _groups(files: Sequence[InputFile], reading: Reading) -> Iterator[FileGroup]:
    arrays = {file: open_npy(file.path) for file in files if _stem(file) not in reading.leave_out}
    beside = {file for file, array in arrays.items() if _is_beside(file, array.header, len(arrays))}
    mains = [file for file in arrays if file not in beside]
    owned: dict[InputFile, dict[str, InputFile]] = {main: {} for main in mains}
    for file in sorted(beside, key=lambda file: file.name):
        main = _main_of(file, mains)
        owned[main][_column(file, main)] = file
    for main, others in owned.items():
        yield _group(main, others, arrays, reading)


def _is_beside(file: InputFile, header: Header, n_files: int) -> bool:
    """Whether a file holds what belongs to the rows of another: one value a row, or a target."""
    return len(header.shape) == 1 or (n_files > 1 and is_single(header) and is_like_target(_stem(file)))


def _main_of(file: InputFile, mains: Sequence[InputFile]) -> InputFile:
    words = set(_words(file))
    sharing = [main for main in mains if _rest(main) <= words]
    if sharing:
        most = max(len(_rest(main)) for main in sharing)
        sharing = [main for main in sharing if len(_rest(main)) == most]
    elif len(mains) == 1:
        sharing = list(mains)
    if len(sharing) != 1:
        raise ColumnError(
            f"{file.path} has one value per row, and {len(sharing)} of the {len(mains)} files of vectors "
            "beside it have as many rows",
            "name it like its vectors, for example ids_3.npy for vectors_3.npy, in one folder, and give both",
        )
    return sharing[0]


def _rest(main: InputFile) -> set[str]:
    """Return the words of a name that do not say that it holds vectors."""
    return {word for word in _words(main) if not is_like_vector(word)}


def _column(file: InputFile, main: InputFile) -> str:
    """Return the name of the column that a file beside ``main`` becomes."""
    own = [word for word in _words(file) if word not in _rest(main)]
    return "target" if is_like_target(_stem(file)) else "_".join(own) or _stem(file)


def _words(file: InputFile) -> list[str]:
    return [word for word in _BETWEEN.split(_stem(file).lower()) if word]


def _stem(file: InputFile) -> str:
    return posixpath.basename(file.name).rpartition(".")[0] or file.name


def _group(
    main: InputFile, others: Mapping[str, InputFile], arrays: Mapping[InputFile, NpyArray], reading: Reading
) -> FileGroup:
    header = arrays[main].header
    targets = [arrays[file].header for column, file in others.items() if column == "target"]
    shape = _shape(header, main.path, targets, reading.shape)
    for column, file in others.items():
        _check_beside(column, file, arrays[file].header, main, n_rows=header.shape[0], dim=shape.dim)
    first = "vector" if shape.length == 1 else "context"
    found = {first: arrays[main]} | {column: arrays[file] for column, file in others.items()}
    vectors = (first, *(column for column in others if column == "target"))
    return FileGroup(main, tuple(others.values()), found, vectors, shape)


def _shape(header: Header, path: str, targets: Sequence[Header], shape: WindowShape | None) -> WindowShape:
    """Return the shape of a row. Rows in one piece are contexts if they have targets, or the width of contexts."""
    width = (shape or _USUAL).width
    is_context = targets or len(header.shape) != 2 or header.shape[1] == width  # noqa: PLR2004 - axes
    if is_context and not (shape and header.shape[1:] == (shape.dim,)):
        return context_shape(header, path, shape, targets)
    return single_shape(header, path, shape)


def _check_beside(
    column: str, file: InputFile, header: Header, main: InputFile, *, n_rows: int, dim: int
) -> None:
    if column == "target":
        check_width(header, file.path, length=1, dim=dim)
    if header.shape[0] != n_rows:
        raise ColumnError(
            f"{file.path} has {header.shape[0]:,} rows, but {main.path} has {n_rows:,}",
            f"save them again together, or leave it out: --leave-out {_stem(file)}",
        )
    if column != "target" and (reason := unfit(header, n_rows)):
        raise ColumnError(f"{file.path}: {reason}", f"leave it out: --leave-out {_stem(file)}")
