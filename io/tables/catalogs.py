"""Opens Iceberg tables through the catalogs that pyiceberg's own configuration knows.

The rule: whatever a catalog raises is told with the name of the table, and what is not installed with the pip command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvm_batch.io.errors import MissingExtra
from lvm_batch.io.tables.registration import library_errors

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

    from lvm_batch.io.tables.names import TableName

_CONFIGURE = (
    "see pyiceberg's configuration: ~/.pyiceberg.yaml, or variables such as PYICEBERG_CATALOG__{}__URI"
)


def open_catalog(name: TableName) -> Catalog:
    """Open the catalog of a table; raises :class:`TableError` or :class:`MissingExtra`."""
    try:
        from pyiceberg.catalog import load_catalog  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtra(
            f"{name.text} needs pyiceberg, which is not installed", 'pip install "lvm-batch[iceberg]"'
        ) from error
    with library_errors(
        f"the catalog `{name.catalog}` of {name.text} cannot be opened",
        _CONFIGURE.format(name.catalog.upper()),
    ):
        return load_catalog(name.catalog)


def open_iceberg(name: TableName) -> Table | None:
    """Open a table, ``None`` if the catalog has none of this name; raises as :func:`open_catalog`."""
    catalog = open_catalog(name)
    from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError  # noqa: PLC0415 - an extra

    with library_errors(f"{name.text} cannot be looked up", "check the catalog, and the access to it"):
        try:
            return catalog.load_table(name.identifier)
        except (NoSuchTableError, NoSuchNamespaceError):
            return None


def has_place(name: TableName) -> bool:
    """Whether the catalog can place a new table: servers of the REST protocol do so by themselves."""
    catalog = open_catalog(name)
    from pyiceberg.catalog.rest import RestCatalog  # noqa: PLC0415 - an extra
    from pyiceberg.exceptions import NoSuchNamespaceError  # noqa: PLC0415

    if isinstance(catalog, RestCatalog) or catalog.properties.get("warehouse"):
        return True
    with library_errors(f"{name.text} cannot be looked up", "check the catalog, and the access to it"):
        try:
            return "location" in catalog.load_namespace_properties(name.identifier[:-1])
        except NoSuchNamespaceError:
            return False


def as_url(path: str) -> str:
    """Return a path in a table as a URL: tables write local ones in three ways."""
    if path.startswith("file:///") or ("://" in path and not path.startswith("file:")):
        return path
    return f"file:///{path.removeprefix('file:').lstrip('/')}"
