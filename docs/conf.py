"""Settings of Sphinx, which makes a site of the project's Markdown files: ``make docs``.

The rule: the pages are the files that GitHub shows, so that they link to each other by their paths. Nothing is fetched.
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "lvm-batch"
author = "The lvm-batch developers"
release = importlib.metadata.version("lvm-batch")
html_title = f"lvm-batch {release}"
html_theme = "furo"
html_copy_source = False

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = [
    "*.md",
    "docs/*.md",
    "**/DESIGN.md",
    "**/README.md",
    "lvm/cards/*.md",
    "workflows/*.md",
    "tests/benchmarks/*.md",
]
exclude_patterns = [".*", "build", "dist", "*.egg-info"]
myst_heading_anchors = 4

autodoc_typehints = "none"
autodoc_member_order = "bysource"


def setup(app: Sphinx) -> None:
    """Take a docstring for plain text, and copy the README's pictures."""
    app.connect("autodoc-process-docstring", _as_plain_text)
    app.connect("build-finished", _copy_images)


def _copy_images(app: Sphinx, error: Exception | None) -> None:
    """Copy what the README shows by HTML, which Sphinx does not look into."""
    if error is None:
        shutil.copytree(f"{app.confdir}/images", f"{app.outdir}/docs/images", dirs_exist_ok=True)


def _as_plain_text(*values: Any) -> None:  # noqa: ANN401 - Sphinx's own values; the last are the lines
    lines = values[-1]
    lines[:] = [re.sub(r"\*|_\b|_(?=\W|$)", lambda mark: "\\" + mark[0], line) for line in lines]
