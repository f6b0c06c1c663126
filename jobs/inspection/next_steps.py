"""The commands that lead from a dataset to its predictions, in order.

The rule: the first command works as it stands, and each of the others once those before it have run. A step that is
done already, because a model or a bank that fits is at hand, is left out.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from lvm_batch.io.formats.common_types import common_type
from lvm_batch.io.schema import FILE_ARTICLE, NO_COLUMN, OUTPUT_COLUMNS, ROW_POSITION, WindowShape
from lvm_batch.jobs.datasets.command_lines import (
    base_path,
    command,
    flags_of,
    free_path,
    from_here,
    sort_command,
    sorted_folder,
)
from lvm_batch.jobs.inspection.other_formats import PACKED, suffix_of
from lvm_batch.jobs.inspection.view import plays
from lvm_batch.lvm.registry.registry import ROLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lvm_batch.jobs.inspection.fitting import AtHand, BankAtHand
    from lvm_batch.jobs.inspection.view import View
    from lvm_batch.jobs.settings.run import RunSettings

_FEW_FILES = 20
MIN_WINDOWS = 50  # of one article: train keeps some apart to judge by
_USUAL_LENGTH = WindowShape().length


class Step(NamedTuple):
    """A command, and what it is for."""

    purpose: str
    command: str


@dataclass(slots=True)
class Way:
    """The steps so far, and what the next ones read: files or folders, and the options that name columns."""

    dataset: Sequence[str]
    flags: list[str]
    steps: list[Step] = field(default_factory=list)

    def add(self, purpose: str, *words: str) -> None:
        """Add a command."""
        self.steps.append(Step(purpose, command(*words)))


def next_steps(view: View, hand: AtHand, *, max_bad_rows: float | None) -> list[Step]:
    """Return the commands for a dataset; ``max_bad_rows`` is the limit that a run needs to accept its bad rows."""
    if not view.inputs.files:
        return list(_pack_steps(view))
    if not view.n_rows or not view.footers:
        return []
    settings = view.settings
    way = Way(_dataset(view), [*_layout_flags(settings), *flags_of(settings.given_columns)])
    tells_articles = not view.restarts and not view.hidden_articles
    if tells_articles:
        _sort(way, view)
        _train(way, view, hand)
    bank = _bank(way, view, hand)
    if makes_predictions(view) and tells_articles:
        _run(way, view, hand, bank, max_bad_rows)
    return way.steps


def _layout_flags(settings: RunSettings) -> list[str]:
    return [] if settings.layout == "auto" else ["--layout", settings.layout]


def _pack_steps(view: View) -> Iterator[Step]:
    """Yield how arrays and JSON lines become Parquet."""
    if any(suffix_of(file.name) in PACKED for file in view.inputs.others):
        output = free_path(f"{base_path(view.settings.dataset)}-packed")
        yield Step(
            "Parquet that lvm-batch reads", command("pack", *view.settings.dataset, "--output", output)
        )
        yield Step("what is in it, and what comes next", command("inspect", output))


def _dataset(view: View) -> Sequence[str]:
    """Return the arguments of the dataset, or, where a run refuses some files, the good ones if they are few."""
    good = [from_here(footer.file.path) for footer in view.footers]
    has_bad = len(good) < len(view.files) + len(view.inputs.others)
    return good if has_bad and len(good) <= _FEW_FILES else view.settings.dataset


def _sort(way: Way, view: View) -> None:
    """Add the command that puts the rows in order, if they are not."""
    if view.order.disorder is None and view.order.cuts is None:
        return
    line = sort_command(view.named, way.dataset)
    way.steps.append(Step("rows in order, every article whole in one file", line))
    way.dataset = [sorted_folder(view.settings.dataset)]
    chosen = view.settings.given_columns
    kept = {part: name for part, name in chosen.items() if name not in {FILE_ARTICLE, ROW_POSITION}}
    way.flags = [
        *_layout_flags(view.settings),
        *flags_of(kept),
    ]  # pack makes columns of what stood in for them


def _train(way: Way, view: View, hand: AtHand) -> None:
    if hand.model(role=ROLES[0]) is not None or not can_train(view):
        return
    shape, output = view.columns.shape, _model_folder(view)
    length = [] if shape.length == _USUAL_LENGTH else ["--context-length", str(shape.length)]
    way.add(
        f"a model for vectors of {shape.dim:,}: none fits, and no weights ship",
        *("train", *way.dataset, *way.flags, "--arch", "amn", *length, "--output", output),
    )


def _model_folder(view: View) -> str:
    """Return the folder of a new model: among the others, unless they lie in the dataset."""
    base, models_dir = _base(view), view.settings.models_dir
    is_outside = "/" in base and not posixpath.isabs(models_dir)
    return free_path(f"{base}-model" if is_outside else posixpath.join(models_dir, f"amn{_choice(view)}"))


def _base(view: View) -> str:
    """Return the beginning of the paths of what is made of a dataset with the present column of vectors."""
    return f"{base_path(view.settings.dataset)}{_choice(view)}"


def _choice(view: View) -> str:
    """Return the column of vectors as the end of a name, if it is one of several."""
    names = view.columns.names
    column = names.context if view.columns.layout == "windows" else names.vector
    return f"-{column.replace('/', '_')}" if view.others else ""


def can_train(view: View) -> bool:
    """Whether there are windows with a target: of several articles, or enough of one to keep its end apart."""
    order = view.order
    if view.columns.layout == "windows":
        return any(footer.roles.target for footer in view.footers) and view.n_rows > 1
    if order.disorder is not None or order.cuts is not None:
        return order.articles > 1 or view.n_rows > MIN_WINDOWS  # more of them once rows are in order
    return order.long_articles > 1 or (order.long_articles == 1 and order.windows > MIN_WINDOWS)


def makes_predictions(view: View) -> bool:
    """Whether a row of the dataset gets a prediction, once rows are in order."""
    return view.columns.layout == "windows" or view.order.windows > 0 or view.order.disorder is not None


def _bank(way: Way, view: View, hand: AtHand) -> str | None:
    """Return the bank that a run takes; add the command that builds it, if there is none."""
    known = _bank_at_hand(view, hand)
    if known is not None:
        return known.path
    column = plays("target" if view.columns.layout == "windows" else "vector", view.settings, view.columns)
    if column is None:
        return None
    output = free_path(f"{_base(view)}-bank")
    flags = [] if column == "vector" else ["--vector-column", column]
    names = view.columns.names
    if not all(_has_one_type(view, name) for name in (names.article, names.position)):
        flags += ["--article-column", NO_COLUMN]  # a bank keeps both, each of one type, or neither
    way.add(
        "a bank of the vectors, for confidence and margin",
        *("bank", "build", *way.dataset, *flags, "--output", output),
    )
    return output


def _has_one_type(view: View, name: str) -> bool:
    """Whether a type holds the values that a column has in all files; a file without rows may have any."""
    known: pa.DataType | None = pa.null()
    for footer in view.footers:
        if known is not None and footer.n_rows and name in footer.schema.names:
            known = common_type(known, footer.schema.field(name).type)
    return known is not None


def _bank_at_hand(view: View, hand: AtHand) -> BankAtHand | None:
    """Return the bank that was given or is named after the dataset: another one may be as wide by chance."""
    own = f"{_base(view)}-bank"
    return next((bank for bank in hand.banks if bank.fits and bank.path in {view.settings.bank, own}), None)


def _run(way: Way, view: View, hand: AtHand, bank: str | None, max_bad_rows: float | None) -> None:
    if not (can_train(view) or hand.model(role=ROLES[0])):
        return
    settings = view.settings
    output = free_path(f"{_base(view)}-predictions")
    words = ["run", *way.dataset, *way.flags, *_model_flags(view, hand)]
    words += ["--bank", bank] if bank else []
    words += [text for name in colliding_columns(view) for text in ("--rename", f"{name}=source_{name}")]
    if len(view.footers) < len(view.files) and list(way.dataset) == list(settings.dataset):
        words += ["--on-bad-file", "skip"]
    if max_bad_rows is not None:
        words += ["--max-bad-rows", f"{max_bad_rows:g}"]
    way.add("predictions", *words, "--output", output)
    way.add("a look at them", "show", output)


def _model_flags(view: View, hand: AtHand) -> list[str]:
    """Return the options that name the models, where no role does."""
    settings = view.settings
    primary, fallback = (hand.model(role=role) for role in ROLES)
    flags = []
    if primary is None:
        flags += ["--model", _model_folder(view)]
    elif ROLES[0] not in primary.roles:
        flags += ["--model", primary.name]
    if fallback is not None and ROLES[1] not in fallback.roles:
        flags += ["--fallback", fallback.name]
    if settings.models_dir != type(settings).model_fields["models_dir"].default:
        flags += ["--models-dir", settings.models_dir]
    return flags


def colliding_columns(view: View) -> list[str]:
    """Return the carried columns whose names, in any case of letters, are those of the output."""
    carried = dict.fromkeys(name for footer in view.footers for name in footer.roles.carried)
    return [name for name in carried if name.lower() in OUTPUT_COLUMNS and name != FILE_ARTICLE]
