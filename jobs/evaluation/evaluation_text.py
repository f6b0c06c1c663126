"""An evaluation as text: tables for a terminal, and the leaderboard as Markdown.

The rule: the text says nothing that the values do not hold; an unknown number is a dash.
"""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.console.text import as_table, format_number, plural
from lvm_batch.jobs.evaluation.direction_tables import (
    all_recall_rows,
    direction_rows,
    recall_rows,
    seen_rows,
)
from lvm_batch.jobs.evaluation.evaluation_tables import (
    UNKNOWN,
    cosine_rows,
    difference_rows,
    model_rows,
    retrieval_rows,
    split_rows,
)
from lvm_batch.jobs.evaluation.group_scores import SHOWN_LANES
from lvm_batch.jobs.evaluation.row_scores import MEAN
from lvm_batch.jobs.models.query_table import QUERY_REMARK, query_rows
from lvm_batch.jobs.models.seen_rows import UNKNOWN as NO_DIGEST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Values = Mapping[str, Any]

_WIDTH = 80
_NAME = 20  # characters of a model's name in a table
_LANE_MODELS, _LANE_NAME = 2, 11  # with the mean of the context, as many as fit into the width


def as_text(values: Values) -> str:
    """Return the values of an evaluation as tables of at most 80 columns."""
    cosines, splits, models = cosine_rows(values), split_rows(values), model_rows(values)
    parts = [
        "\n".join(_filled(text) for text in _header(values)),
        _table([row[:5] for row in cosines]),
        _table([row[:5] for row in splits]),
        _table(difference_rows(cosines, splits)),
        _lanes(values),
        _retrieval(values),
        _table(direction_rows(values)),
        _table(seen_rows(values)),
        _table([row[:-1] for row in models]),
        _table(_query_rows(values)),
        _recommendations(models),
        "\n".join(_filled(text) for text in _remarks(values, best="*")),
    ]
    return "\n\n".join(part for part in parts if part)


def as_markdown(values: Values, plots: Sequence[str]) -> str:
    """Return the leaderboard of an evaluation as Markdown; ``plots`` are the names of figures beside it."""
    head, *rows = model_rows(values)
    parts = [
        "# Leaderboard",
        "\n\n".join(_header(values)),
        _markdown([["model", *head[1:]], *rows]),
        "\n\n".join(_remarks(values, best="bold:")),
        _markdown(_query_rows(values)),
        "## Cosine with the true next vector",
        _markdown(cosine_rows(values)),
        _markdown(split_rows(values)),
        *(["## Retrieval", _markdown(retrieval_rows(values))] if values["bank"] else []),
        *(map(_markdown, all_recall_rows(values)) if values["bank"] else []),
        "## Direction",
        _markdown(direction_rows(values)),
        "## Seen in training",
        _markdown(seen_rows(values)),
        *(f"![{name.removesuffix('.svg')}]({name})" for name in plots),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _header(values: Values) -> Iterator[str]:
    rows, samples = values["rows"], values["bootstrap"]
    articles = "" if rows["articles"] is None else f" of {plural(rows['articles'], 'article')}"
    counts = rows["by_split"]
    if counts and (others := rows["judged"] - sum(counts.values())):
        counts = {**counts, "without a split": others}
    splits = ", ".join(f"{n_rows:,} {split}" for split, n_rows in counts.items())
    yield f"{plural(rows['judged'], 'row')}{articles} in {', '.join(values['dataset'])}" + (
        f": {splits}" if splits else ""
    )
    left_out = ", ".join(f"{n_rows:,} {why}" for why, n_rows in rows["left_out"].items())
    if left_out:
        yield f"left out: {left_out}"
    yield (
        f"intervals: {samples['confidence']:.0%} of {samples['resamples']:,} bootstrap samples of {samples['of']}"
    )


def _query_rows(values: Values) -> list[list[str]]:
    return query_rows((model["name"], model["architecture"], model) for model in values["models"])


def _recommendations(models: list[list[str]]) -> str:
    """Return each model's recommendation in a line, if any model has one."""
    lines = [[row[0], row[-1]] for row in models[1:]]
    return (
        ""
        if all(text == UNKNOWN for _, text in lines)
        else as_table([["recommendation", ""], *lines], left=(0, 1))
    )


def _lanes(values: Values) -> str:
    """Return a table of the largest lanes: rows, and the mean cosines of the first models and the context's mean."""
    models = values["models"][:_LANE_MODELS]
    judged = [*models, *(each for each in values["baselines"] if each["name"] == MEAN)]
    lanes = models[0]["by_lane"]
    if not lanes:
        return ""
    rows = [["by lane", "rows", *(_shorten(model["name"], _LANE_NAME) for model in models), MEAN]]
    for lane, figures in list(lanes.items())[:SHOWN_LANES]:
        rows.append(
            [
                lane,
                f"{figures['rows']:,}",
                *(format_number(each["by_lane"][lane]["cosine"]) for each in judged),
            ]
        )
    left = {"lane": len(lanes) - SHOWN_LANES, "model": len(values["models"]) - _LANE_MODELS}
    more = [plural(number, noun) for noun, number in left.items() if number > 0]
    return _table(rows) + (f"\nin --json also: {', '.join(more)}" if more else "")


def _retrieval(values: Values) -> str:
    bank = values["bank"]
    if not bank:
        return ""
    head = (
        f"retrieval among the {plural(bank['vectors'], 'vector')} of {bank['path']}, over the {bank['rows']:,} of "
        f"{plural(values['rows']['judged'], 'row')} whose target it holds"
    )
    return f"{_filled(head)}\n{_table(retrieval_rows(values))}\n\n{_table(recall_rows(values))}"


def _remarks(values: Values, *, best: str) -> Iterator[str]:
    board = values["leaderboard"]
    yield f"over mean: the cosine less that of the {MEAN}, row by row"
    yield "next - last: the cosine with the next vector less that with the last one of the context"
    yield "order: the cosine less that from the context in another order; 0: the model does not use the order"
    if any(model["seen"] is None for model in values["models"]):
        yield f"unknown: {NO_DIGEST}"
    if values["bank"] and values["bank"]["rows"]:
        yield "over last: recall less that of the last vector as the query; in leaderboard.md also R@1 and R@10"
        is_kept = values["bank"]["own_context"] == "keep"
        why = "counts as a wrong answer" if is_kept else "does not count"
        yield f"retrieval: a row's own context, if the bank holds it, {why}"
    if any(entry["best"] for entry in board):
        yield f"{best} the best of its column among the models judged here"
    if any(entry["recommendation"] for entry in board):
        yield f"recommendation: {values['rule']}"
    if any(entry["published"] for entry in board):
        yield "card: what the model's card publishes, measured on other data and another machine"
    yield QUERY_REMARK.replace("\n", " ")
    yield from (f"note: {notice}" for notice in values["notices"])


def _table(rows: Sequence[Sequence[str]]) -> str:
    return as_table([[_shorten(row[0], _NAME), *row[1:]] for row in rows]) if rows else ""


def _filled(text: str) -> str:
    return fill(text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    head, *body = [[cell.strip().replace("|", "\\|") for cell in row] for row in rows]
    ruled = [head, ["---", *("---:" for _ in head[1:])], *([_bold(cell) for cell in row] for row in body)]
    return "\n".join(f"| {' | '.join(row)} |" for row in ruled)


def _bold(cell: str) -> str:
    return f"**{cell[:-1]}**" if cell.endswith("*") else cell


def _shorten(name: str, length: int) -> str:
    """Cut a name from the left: paths differ at their end."""
    return name if len(name) <= length else f"..{name[2 - length :]}"
