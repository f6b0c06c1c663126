"""The headers of data pages.

The rule: a header holds what reading a page needs, and its sizes have been checked against the chunk that it is in.
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from __future__ import annotations

from dataclasses import dataclass

from lvm_batch.io.pages.thrift import Irregular, Struct, read_struct

_DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2 = 0, 2, 3
PLAIN, RLE, BYTE_STREAM_SPLIT = 0, 3, 9


@dataclass(frozen=True, slots=True)
class PageHeader:
    """A page: ``n_values``, nulls counted, in ``compressed`` bytes of the file, ``uncompressed`` in memory.

    ``levels`` is the number of bytes of the repetition and of the definition levels, which are never compressed then;
    ``None`` if each section begins with its own size (version 1 of data pages).
    """

    n_values: int
    encoding: int
    compressed: int
    uncompressed: int
    crc: int | None
    levels: tuple[int, int] | None
    is_compressed: bool
    is_dictionary: bool = False


def read_header(content: bytes) -> tuple[PageHeader, int]:
    """Return the header at the beginning of ``content``, and its size; raises :class:`Irregular` for other pages."""
    fields, size = read_struct(content)
    kind = fields.get(1)
    if kind == _DATA_PAGE:
        header = _first_version(fields)
    elif kind == _DATA_PAGE_V2:
        header = _second_version(fields)
    elif kind == _DICTIONARY_PAGE:
        sizes = _number(fields, 3), _number(fields, 2)
        header = PageHeader(0, PLAIN, *sizes, None, None, is_compressed=True, is_dictionary=True)
    else:
        raise Irregular
    if header.n_values < 0 or header.compressed < 0 or header.uncompressed < 0:
        raise Irregular
    return header, size


def _first_version(fields: Struct) -> PageHeader:
    page = _struct(fields, 5)
    if _number(page, 3) != RLE or _number(page, 4) != RLE:
        raise Irregular
    return PageHeader(
        n_values=_number(page, 1),
        encoding=_number(page, 2),
        compressed=_number(fields, 3),
        uncompressed=_number(fields, 2),
        crc=_optional(fields, 4),
        levels=None,
        is_compressed=True,
    )


def _second_version(fields: Struct) -> PageHeader:
    page = _struct(fields, 8)
    levels = _number(page, 6), _number(page, 5)
    if min(levels) < 0 or sum(levels) > min(_number(fields, 2), _number(fields, 3)) or _number(page, 2):
        raise Irregular  # a page with nulls, too
    return PageHeader(
        n_values=_number(page, 1),
        encoding=_number(page, 4),
        compressed=_number(fields, 3),
        uncompressed=_number(fields, 2),
        crc=_optional(fields, 4),
        levels=levels,
        is_compressed=_optional(page, 7) != 0,
    )


def _struct(fields: Struct, number: int) -> Struct:
    value = fields.get(number)
    if not isinstance(value, dict):
        raise Irregular
    return value


def _number(fields: Struct, number: int) -> int:
    value = fields.get(number)
    if not isinstance(value, int):
        raise Irregular
    return value


def _optional(fields: Struct, number: int) -> int | None:
    value = fields.get(number)
    return value if isinstance(value, int) else None
