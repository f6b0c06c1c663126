"""What stands in the way of a run: found beforehand, each with what to do.

The rule: the same problem in several files is one problem, which says in how many.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from lvm_batch.io.schema import FILE_ARTICLE
from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.datasets.command_lines import sort_command
from lvm_batch.jobs.datasets.dataset_notices import disorder_text
from lvm_batch.jobs.errors import Problem
from lvm_batch.jobs.inspection.near_vectors import near_vectors
from lvm_batch.jobs.inspection.next_steps import MIN_WINDOWS, can_train, colliding_columns, makes_predictions
from lvm_batch.lvm.registry.registry import ROLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvm_batch.io.errors import DataError
    from lvm_batch.jobs.datasets.sample import Sample
    from lvm_batch.jobs.inspection.fitting import AtHand
    from lvm_batch.jobs.inspection.view import View

_MOST_BAD = 0.5
"""Above this share, bad rows are no accident to be allowed for."""


def problems(view: View, hand: AtHand, sample: Sample, gate: dict[str, Any] | None) -> Iterator[Problem]:
    """Yield everything that a run would refuse or fail for."""
    yield from view.inputs.problems
    yield from _refused_files(view)
    yield from view.unclear
    yield from _nothing_to_read(view)
    yield from _collisions(view)
    yield from _hidden_articles(view)
    if view.restarts:
        yield Problem(
            f"`{view.columns.names.position}` starts again within files, so a file holds several texts, but no "
            "column identifies them",
            "name it: --article-column NAME",
        )
    elif view.order.disorder is not None:
        hint = f"`{sort_command(view.named)}` writes the rows of all files in order"
        yield Problem(disorder_text(view.order.disorder), hint)
    yield from (Problem(*error.args[:2]) for error in sample.errors)
    if gate and gate["fails"]:
        yield _gate_problem(gate)
    yield from _misfits(view, hand)
    yield from _nothing_to_train_on(view, hand)


def _refused_files(view: View) -> Iterator[Problem]:
    """Yield the error of every file that a run refuses, those that differ by their file only as one.

    Without any column of vectors, the errors of columns say no more than that.
    """
    groups: dict[tuple[str, str], list[DataError]] = {}
    for seen in view.files:
        if seen.error is not None and (view.has_vectors or seen.schema is None):
            message, hint = (str(text).replace(seen.file.path, "…") for text in seen.error.args[:2])
            groups.setdefault((message, hint), []).append(seen.error)
    for same in groups.values():
        message, hint = same[0].args[:2]
        where = f" (in {len(same):,} of {plural(len(view.files), 'file')})" if len(view.files) > 1 else ""
        yield Problem(f"{message}{where}", _without_inspect(hint))


def _without_inspect(hint: str) -> str:
    """Leave out the advice to use this very command."""
    return "; ".join(advice for advice in hint.split("; ") if "lvm-batch inspect" not in advice)


def _nothing_to_read(view: View) -> Iterator[Problem]:
    if view.footers and not view.n_rows:
        yield Problem("there are no rows", "check that the files were written completely")
    if any(seen.schema is not None for seen in view.files) and not view.has_vectors:
        near = near_vectors(seen.schema for seen in view.files if seen.schema is not None)
        yield Problem(
            "; ".join(["no column holds vectors, as lists of floats, all of one length, or as bytes", *near]),
            "write them as lists of floats in a column of their own"
            if near
            else "if one does, give it with --vector-column or --context-column",
        )


def _hidden_articles(view: View) -> Iterator[Problem]:
    names = view.hidden_articles
    if names:
        shown = " or ".join(f"`{name}`" for name in names)
        column = names[0].rpartition(".")[2]
        yield Problem(
            f"no column identifies articles; {shown} may, but columns inside another column are not read",
            f"write it as a column of its own, for example with DuckDB: SELECT *, {names[0]} AS {column}; or take each "
            f"file as one article: --article-column {FILE_ARTICLE}",
        )


def _collisions(view: View) -> Iterator[Problem]:
    names = colliding_columns(view)
    if names:
        columns = " and ".join(f"`{name}`" for name in names)
        have = "has the name" if len(names) == 1 else "have the names"
        flags = " ".join(f"--rename {name}=source_{name}" for name in names)
        yield Problem(
            f"{columns} {have} of columns that a run adds", f"give other names in the output: {flags}"
        )


def gate_values(sample: Sample, *, limit: float, spoilt: int) -> dict[str, Any] | None:
    """Return whether the gate of bad rows would fail; ``None`` without a sample.

    ``spoilt`` is how many rows each bad one of the sample spoils: 1, or the length of a context if single vectors were
    sampled.
    """
    if not sample.rows:
        return None
    n_bad = sample.by_status["bad_input"]
    share = min(1.0, n_bad * spoilt / sample.rows)
    return {
        "max_bad_rows": limit,
        "bad_rows": n_bad,
        "rows": sample.rows,
        "share": share,
        "is_whole": sample.is_whole,
        "fails": share > limit,
    }


def needed_limit(gate: dict[str, Any] | None) -> float | None:
    """Return the ``--max-bad-rows`` that lets a dataset pass, in whole percents; ``None`` if the present one does."""
    if not gate or not gate["fails"] or gate["share"] > _MOST_BAD:
        return None
    slack = 1.0 if gate["is_whole"] else 1.5  # a sample may have missed some
    percents = math.floor(float(gate["share"]) * slack * 100) + 1
    return min(1.0, percents / 100)


def _gate_problem(gate: dict[str, Any]) -> Problem:
    of = plural(gate["rows"], "row" if gate["is_whole"] else "sampled row")
    are = "is" if gate["bad_rows"] == 1 else "are"
    limit = needed_limit(gate)
    allow = f", or allow for them: --max-bad-rows {limit:g}" if limit is not None else ""
    return Problem(
        f"a run would fail at the end: {gate['bad_rows']:,} of {of} {are} bad, a share of {gate['share']:.1%}, and "
        f"--max-bad-rows allows {gate['max_bad_rows']:.1%}; a bad vector makes every window with it bad",
        f"fix these rows{allow}",
    )


def _misfits(view: View, hand: AtHand) -> Iterator[Problem]:
    """Yield the models with a role that do not fit, for a run takes them unless others are given."""
    for role, flag in zip(ROLES, ("--model", "--fallback"), strict=True):
        holder = hand.holder(role)
        if not view.has_vectors or holder is None or holder.fits or holder.dim is None:
            continue
        yield Problem(
            f"{role} ({holder.name}) takes {_takes(holder.length, holder.dim, view)}, the dataset has "
            f"{_takes(view.columns.shape.length, view.columns.shape.dim, view)}",
            f"give {flag} a model that fits, or keep the models for these vectors in a folder of their own: "
            "--models-dir",
        )


def _takes(length: int | None, dim: int, view: View) -> str:
    """Return what a model takes or a dataset has; single vectors make contexts of any length."""
    contexts = f"contexts of {length} " if view.columns.layout == "windows" and length else ""
    return f"{contexts}vectors of {dim:,}"


def _nothing_to_train_on(view: View, hand: AtHand) -> Iterator[Problem]:
    """Yield why no model can be trained on the dataset, where none fits it either."""
    if not (view.footers and view.n_rows and view.has_vectors) or can_train(view):
        return
    length = view.columns.shape.length
    if not makes_predictions(view):
        yield Problem(
            f"no article has {length} consecutive rows, which a window needs",
            "if rows are not parts of longer texts, there is nothing to predict; else give the column of the "
            "rows' texts: --article-column NAME",
        )
    elif hand.model(role=ROLES[0]) is None:
        yield Problem(
            f"no model takes vectors of {view.columns.shape.dim:,}, and {_too_little(view)}",
            f"give a model: --model CKPT; or {_more_to_train_on(view)}",
        )


def _too_little(view: View) -> str:
    if view.columns.layout == "windows":
        return "without targets, none can be trained"
    return f"there is too little to train on: less than {MIN_WINDOWS} windows, of one article"


def _more_to_train_on(view: View) -> str:
    if view.columns.layout == "windows":
        return "give the column of the true next vectors: --target-column NAME"
    return "add files of other articles, or give the column that identifies articles: --article-column NAME"
