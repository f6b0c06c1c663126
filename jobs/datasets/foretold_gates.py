"""Gates that will fail, as far as footers tell before any row is read.

The rule: what is said is a bound. Rows may be bad in ways that no footer tells, so a dataset without a notice may fail
its gate all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.console.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lvm_batch.io.dataset.units import Footer
    from lvm_batch.io.formats.null_vectors import NullVectors
    from lvm_batch.io.schema import Pad
    from lvm_batch.jobs.settings.run import RunSettings


@dataclass(frozen=True, slots=True)
class KnownBadRows:
    """What the footers of a dataset tell of rows without a vector, and of the rows that these make ``bad_input``.

    ``vectors`` is how many rows have none, in ``files`` files; the first is in ``row_group`` of ``file``, in
    ``column``. They make from ``least`` to ``most`` of all ``rows`` bad: in sequences, every window that holds one.
    """

    vectors: int
    least: int
    most: int
    rows: int
    files: int
    file: str
    row_group: int
    column: str

    def fails(self, max_bad_rows: float) -> bool | None:
        """Whether the gate must fail; ``None`` if it may."""
        if self.least > max_bad_rows * self.rows:
            return True
        return None if self.most > max_bad_rows * self.rows else False

    def as_dict(self) -> dict[str, Any]:
        """Return the counts and the first place as plain values."""
        return {
            "null_vectors": self.vectors,
            "bad_rows_at_least": self.least,
            "bad_rows_at_most": self.most,
            "files": self.files,
            "first": {"file": self.file, "row_group": self.row_group, "column": self.column},
        }


def gate_notices(
    settings: RunSettings, footers: Sequence[Footer], *, length: int, has_fallback: bool
) -> Iterator[str]:
    """Yield which gates of a run will or may fail, and which cannot be judged."""
    # Of files that a limit cuts no footer tells where the nulls are.
    whole = footers if settings.limit is None else ()
    known = known_bad_rows(whole, length=length, pad=settings.pad)
    yield from bad_row_notices(known, max_bad_rows=settings.max_bad_rows)
    yield from loss_gate_notices(
        footers, has_fallback=has_fallback, max_fallback_loss=settings.max_fallback_loss
    )


def known_bad_rows(footers: Sequence[Footer], *, length: int, pad: Pad | None) -> KnownBadRows | None:
    """Add up what the footers of a dataset tell of rows without a vector; ``None`` if they tell of none.

    ``length`` is that of a context; ``pad`` says whether the first rows of an article have one, too.
    """
    spoiled = [(footer, footer.null_vectors) for footer in footers if footer.null_vectors]
    if not spoiled:
        return None
    first, nulls = spoiled[0]
    bounds = [_bounds(*each, length=length, pad=pad) for each in spoiled]
    return KnownBadRows(
        vectors=sum(each.rows for _, each in spoiled),
        least=sum(least for least, _ in bounds),
        most=sum(most for _, most in bounds),
        rows=sum(footer.n_rows for footer in footers),
        files=len(spoiled),
        file=first.file.path,
        row_group=nulls.row_group,
        column=first.roles.vectors,
    )


def _bounds(footer: Footer, nulls: NullVectors, *, length: int, pad: Pad | None) -> tuple[int, int]:
    """Return how many rows of a file are bad, at least and at most.

    In sequences a vector spoils the windows of ``length`` rows. The first rows of an article have no window unless they
    are padded, so ``length`` vectors at its head may spoil a single one.
    """
    if footer.roles.layout == "windows":
        return nulls.rows, nulls.rows
    least = ceil(nulls.rows / length) if pad in {None, "reject"} else nulls.rows
    return least, min(nulls.rows * length, footer.n_rows)


def bad_row_notices(known: KnownBadRows | None, *, max_bad_rows: float) -> Iterator[str]:
    """Yield why the gate ``max_bad_rows`` will or may fail, and the option that accepts it."""
    if known is None or known.fails(max_bad_rows) is False:
        return
    share = known.most / known.rows
    bad = f"{'' if known.least == known.most else 'up to '}{known.most:,} of {plural(known.rows, 'row')} ({share:.2%})"
    yield (
        f"{_null_rows(known)} and {'makes' if known.vectors == 1 else 'make'} {bad} bad_input: the gate --max-bad-rows "
        f"({max_bad_rows:.2%}) {_verb(known, max_bad_rows)} fail at the end. Fix these rows, or accept them "
        f"with --max-bad-rows {_rounded_up(share)}"
    )


def _verb(known: KnownBadRows, max_bad_rows: float) -> str:
    """Null vectors mostly lie apart, within articles, so that nearly as many rows are bad as can be."""
    if known.fails(max_bad_rows):
        return "will"
    return "will probably" if known.most / 2 > max_bad_rows * known.rows else "may"


def loss_gate_notices(
    footers: Sequence[Footer], *, has_fallback: bool, max_fallback_loss: float | None
) -> Iterator[str]:
    """Yield why the gate ``max_fallback_loss``, if there is one, cannot be judged."""
    if max_fallback_loss is None:
        return
    without = "the gate --max-fallback-loss cannot be judged without"
    if not has_fallback:
        yield f"{without} a fallback model: give --fallback"
    elif footers and all(each.roles.layout == "windows" and each.roles.target is None for each in footers):
        yield f"{without} targets, and the files have no column of them: give --target-column"


def _null_rows(known: KnownBadRows) -> str:
    where = f"in row group {known.row_group} of {known.file}"
    if known.vectors == 1:
        return f"a row has nulls in `{known.column}`, {where},"
    more = f" ({plural(known.files, 'file')} in all)" if known.files > 1 else ""
    return f"{plural(known.vectors, 'row')} have nulls in `{known.column}`, the first {where}{more},"


def _rounded_up(share: float) -> str:
    """Return a share in two digits, none smaller."""
    digits = 10 ** (1 - floor(log10(share)))
    return f"{min(1.0, ceil(share * digits) / digits):g}"
