"""Names of columns that a run cannot carry, leave out or rename are refused before work."""

from __future__ import annotations

import pyarrow as pa
import pytest

from lvm_batch.io.dataset.files import InputFile
from lvm_batch.io.dataset.units import Footer
from lvm_batch.io.schema import Roles
from lvm_batch.jobs.prediction.planning.carried_columns import carried_column_errors
from lvm_batch.jobs.settings.run import RunSettings

NAMES = ("doc_id", "title", "vector", "target")


def errors(settings: dict[str, list[str]], name: str = "a.parquet") -> list[str]:
    """What is said of the settings, for a file of that name."""
    chosen = RunSettings(**settings)
    carried = {
        each: each
        for each in NAMES
        if each not in {"vector", "target", *chosen.drop} and (not chosen.columns or each in chosen.columns)
    }
    roles = Roles("windows", "vector", "target", None, None, None, None, None, carried)
    schema = pa.schema([(each, pa.string()) for each in NAMES])
    footer = Footer(InputFile(f"/in/{name}", name, 1, 1), schema, roles, (1,))
    return ["; ".join(error.args[:2]) for error in carried_column_errors(chosen, [footer])]


def test_known_names_are_accepted() -> None:
    """Columns of the input can be kept, left out and renamed."""
    assert errors({"drop": ["title"], "rename": ["doc_id=id"]}) == []
    assert errors({"columns": ["title"], "drop": ["doc_id"]}) == []
    assert errors({"columns": ["date", "title"]}, name="date=2026-11-29/a.parquet") == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"drop": ["titel"]}, "--drop titel: no file has a column `titel`; did you mean `title`?"),
        ({"drop": ["xyz"]}, "--drop xyz: no file has a column `xyz`; there are `doc_id`, `title`"),
        ({"drop": ["prediction"]}, "--no-prediction leaves it out"),
        ({"drop": ["cosine"]}, "--drop cosine: the job adds this column and always writes it"),
        ({"drop": ["vector"]}, "--drop vector: it holds vectors, which are never carried to the output"),
        ({"drop": ["doc_id,title"]}, "give each column separately: --drop doc_id --drop title"),
        ({"drop": ["title"], "rename": ["title=t"]}, "`title` is not carried to the output"),
        ({"rename": ["titel=t"]}, "--rename titel=t: no file has a column `titel` that is carried"),
    ],
)
def test_an_unknown_name_is_refused(settings: dict[str, list[str]], said: str) -> None:
    """The error names the option, and what would do."""
    [error] = errors(settings)
    assert said in error


def test_all_wrong_names_are_told_together() -> None:
    """One try is enough to learn of every name."""
    assert len(errors({"drop": ["a", "b", "vector"], "rename": ["c=d"]})) == 4


def test_a_column_of_folders_stays_in_their_names() -> None:
    """The output has the input's folders, so their columns can be asked for, but not be left out."""
    [error] = errors({"drop": ["date"]}, name="date=2026-11-29/a.parquet")
    assert "--drop date: it is in the names of folders, which the output keeps" in error
