"""Headers of Parquet pages: the sizes that a footer does not tell.

The rule: only a page's header is read, in one request, never the page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvm_batch.io.formats.parquet import OpenParquet

_PAGE_HEADER_BYTES = 32


def page_bytes(file: OpenParquet, offset: int) -> int:
    """Return the compressed plus the uncompressed bytes of the page at ``offset`` of an open file.

    Its header is in Thrift's compact protocol and begins with three numbers: the page's type and the two sizes.
    """
    with file.naming_errors(f"the page at byte {offset}"):
        header = iter(file.read_at(offset, _PAGE_HEADER_BYTES))
    fields = [_thrift_number(header) for _ in range(3) if next(header, None) is not None]
    return sum(fields[1:])


def _thrift_number(content: Iterator[int]) -> int:
    value = shift = 0
    for byte in content:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004 - the last byte of a number has no high bit
            break
    return (value >> 1) ^ -(value & 1)
