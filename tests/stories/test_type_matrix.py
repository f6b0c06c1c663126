"""Carried values are sacred: every type that four libraries write, through every door to an output.

Each column is carried by itself. Readers of this project have its values to the bit or refuse it by name; what others
make of it is in the documentation, whose table is this test's result.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.type_matrix import (
    EQUAL,
    NAME,
    OURS,
    READERS,
    REFUSED,
    WRITERS,
    as_table,
    carry,
    family,
    outcome,
    parts,
    written,
)

from lvm_batch.io.errors import UnreadableFile
from lvm_batch.io.formats.parquet import open_parquet

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("deltalake")
catalogs = pytest.importorskip("pyiceberg.catalog")

pytestmark = [pytest.mark.soak, pytest.mark.filterwarnings("ignore::ResourceWarning")]

DOCS = Path(__file__).parents[2] / "docs/tables.md"

NOT_READ_BY_ARROW = {("polars", "int128"), ("DuckDB", "BIGINT[2], with a NULL")}
"""What Arrow 26 does not read: an input with such a column is refused by name."""

Outcomes = dict[tuple[str, str], tuple[pa.DataType, tuple[str, ...]]]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    """What each reader makes of each column of each writer, with the type that the output has."""
    folder = tmp_path_factory.mktemp("types")
    (folder / "warehouse").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYICEBERG_CATALOG__LOCAL__TYPE", "sql")
        patch.setenv("PYICEBERG_CATALOG__LOCAL__URI", f"sqlite:///{folder}/catalog.db")
        patch.setenv("PYICEBERG_CATALOG__LOCAL__WAREHOUSE", f"file://{folder}/warehouse")
        patch.setattr(catalogs, "_ENV_CONFIG", catalogs.Config())
        yield {
            (writer, name): found
            for writer in WRITERS
            for name, path in written(writer, folder / writer).items()
            if (found := _found(writer, name, path)) is not None
        }


def _found(writer: str, name: str, path: Path) -> tuple[pa.DataType, tuple[str, ...]] | None:
    if (writer, name) in NOT_READ_BY_ARROW:
        with pytest.raises(UnreadableFile, match=path.name), open_parquet(str(path)) as file:
            list(file.tables(row_groups=[0], columns=[NAME], batch_rows=4))
        return None
    column = pq.read_table(path)
    folder = path.with_suffix("")
    folder.mkdir()
    output = carry(column, folder)
    return column.schema.field(NAME).type, tuple(outcome(reader, output, column[NAME]) for reader in READERS)


def test_readers_have_every_value_or_refuse_it_by_name(outcomes: Outcomes) -> None:
    """One test of all rules, since the matrix takes half a minute to make and each worker would make its own."""
    _our_readers_have_every_value_or_refuse_it(outcomes)
    _files_and_our_dataset_have_every_value(outcomes)
    _nested_types_are_kept_where_what_is_in_them_is(outcomes)
    table = as_table(_of_families(outcomes))
    assert table in DOCS.read_text(encoding="utf-8"), f"docs/tables.md must have this table:\n\n{table}"


def _our_readers_have_every_value_or_refuse_it(outcomes: Outcomes) -> None:
    """Never another value, and never an error of somebody else."""
    wrong = {
        (*key, str(kind), reader): told
        for key, (kind, each) in outcomes.items()
        for reader, told in zip(READERS, each, strict=True)
        if reader in OURS and told not in {EQUAL, REFUSED}
    }
    assert not wrong


def _files_and_our_dataset_have_every_value(outcomes: Outcomes) -> None:
    """Whatever type it is: only polars and the table formats lack types."""
    assert len(outcomes) > 150
    assert {each[:2] for _, each in outcomes.values()} == {(EQUAL, EQUAL)}


def _nested_types_are_kept_where_what_is_in_them_is(outcomes: Outcomes) -> None:
    """So the documentation needs no line for each."""
    plain = _of_families(outcomes)
    for kind, each in outcomes.values():
        if inner := parts(kind):
            within = [plain[family(one)] for one in [kind, *inner] if not parts(one) or one == kind]
            for number, reader in enumerate(READERS):
                refused = any(one[number] == REFUSED for one in within)
                if reader in OURS and all(not parts(one) for one in inner):
                    assert each[number] == (REFUSED if refused else EQUAL), (str(kind), reader)


def _of_families(outcomes: Outcomes) -> dict[str, tuple[str, ...]]:
    """What readers make of each kind of type; of a nested kind, with types in it that all have."""
    families: dict[str, set[tuple[str, ...]]] = {}
    for kind, each in outcomes.values():
        families.setdefault(family(kind), set()).add(each)
    best = {
        name: min(found, key=lambda each: sum(one != EQUAL for one in each))
        for name, found in families.items()
    }
    flat = {family(kind) for kind, _ in outcomes.values() if not parts(kind)}
    assert [name for name in flat if len(families[name]) > 1] == []
    return best
