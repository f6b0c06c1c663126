"""An evaluation as text: tables for a terminal, and the leaderboard as Markdown.

The rule: the text says nothing that the values do not hold; an unknown number is a dash.
"""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.console.text import as_table, format_number, plural
from lvm_batch.jobs.evaluation.group_scores import SHOWN_LANES
from lvm_batch.jobs.evaluation.row_scores import MEAN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Values = Mapping[str, Any]

_WIDTH = 110
_NAME = 20  # characters of a model's name in a table
_LANE_MODELS, _LANE_NAME = 5, 11  # with the mean of the context, as many as fit into the width
_UNKNOWN = "-"


def as_text(values: Values) -> str:
    """Return the values of an evaluation as tables of at most 110 columns."""
    parts = [
        "\n".join(_header(values)),
        _table(_cosine_rows(values)),
        _table(_split_rows(values)),
        _lanes(values),
        _retrieval(values),
        _table(_model_rows(values)),
        "\n".join(fill(text, _WIDTH, subsequent_indent="  ") for text in _remarks(values, best="*")),
    ]
    return "\n\n".join(part for part in parts if part)


def as_markdown(values: Values, plots: Sequence[str]) -> str:
    """Return the leaderboard of an evaluation as Markdown; ``plots`` are the names of figures beside it."""
    head, *rows = _model_rows(values)
    parts = [
        "# Leaderboard",
        "\n\n".join(_header(values)),
        _markdown([["model", *head[1:]], *rows]),
        "\n\n".join(_remarks(values, best="bold:")),
        "## Cosine with the true next vector",
        _markdown(_cosine_rows(values)),
        _markdown(_split_rows(values)),
        *(["## Retrieval", _markdown(_retrieval_rows(values))] if values["bank"] else []),
        *(f"![{name.removesuffix('.svg')}]({name})" for name in plots),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _judged(values: Values) -> list[Values]:
    return [*values["models"], *values["baselines"]]


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


def _cosine_rows(values: Values) -> list[list[str]]:
    """Return the means over all rows, and their differences from the mean of the context."""
    rows = [["cosine", "mean", "interval", "std", "mse", "over mean", "interval"]]
    for judged in _judged(values):
        over = judged["over_mean"] or {"cosine": None, "interval": None}
        rows.append(
            [
                judged["name"],
                format_number(judged["cosine"]),
                _interval(judged["interval"]),
                format_number(judged["std"]),
                format_number(judged["mse"], ".6f"),
                format_number(over["cosine"], "+.4f"),
                _interval(over["interval"], "+.4f"),
            ]
        )
    return rows


def _split_rows(values: Values) -> list[list[str]]:
    if not values["rows"]["by_split"]:
        return []
    rows = [["by split", "in_dist", "interval", "ood", "interval", "delta", "interval"]]
    nothing = {"cosine": None, "interval": None}
    for judged in _judged(values):
        splits = [judged["by_split"].get(name, nothing) for name in ("in_dist", "ood")]
        delta = judged["delta"] or nothing
        cells = [
            text
            for split in splits
            for text in (format_number(split["cosine"]), _interval(split["interval"]))
        ]
        rows.append(
            [
                judged["name"],
                *cells,
                format_number(delta["cosine"], "+.4f"),
                _interval(delta["interval"], "+.4f"),
            ]
        )
    return rows


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
    return f"{head}\n{_table(_retrieval_rows(values))}"


def _retrieval_rows(values: Values) -> list[list[str]]:
    names = {"recall_at_1": "R@1", "recall_at_5": "R@5", "recall_at_10": "R@10", "mrr": "MRR"}
    names["contain_at_50"] = "Contain@50"
    rows = [["retrieval", *names.values()]]
    rows += [
        [judged["name"], *(format_number(judged["retrieval"][name]) for name in names)]
        for judged in _judged(values)
    ]
    return rows


def _model_rows(values: Values) -> list[list[str]]:
    """Return the leaderboard, each model followed by the figures of its card."""
    rows = [["models", "in_dist", "ood", "p50 ms", "p95 ms", "size MiB", "parameters", "recommendation"]]
    formats = {
        "in_dist": ".4f",
        "ood": ".4f",
        "p50_ms": ".2f",
        "p95_ms": ".2f",
        "size_mib": ".1f",
        "parameters": ",",
    }
    for entry in values["leaderboard"]:
        cells = [
            format_number(entry[column], form) + ("*" if column in entry["best"] else " ")
            for column, form in formats.items()
        ]
        rows.append([entry["model"], *cells, entry["recommendation"] or _UNKNOWN])
        if card := entry["published"]:
            rows.append([f"  card: {card['name']}", *_published(card)])
    return rows


def _published(card: Values) -> list[str]:
    formats = {
        "in_dist_cosine": ".4f",
        "ood_cosine": ".4f",
        "latency_ms": ".2f",
        "p95_ms": ".2f",
        "size_mb": ".1f",
        "n_parameters": ",",
    }
    return [
        *(f"{format_number(card[name], form)} " for name, form in formats.items()),
        card["recommendation"],
    ]


def _remarks(values: Values, *, best: str) -> Iterator[str]:
    board = values["leaderboard"]
    yield f"over mean: the cosine less that of the {MEAN}, row by row"
    if values["bank"] and values["bank"]["rows"]:
        yield "retrieval: a row's own context, where it stands in the bank, is in the way of its target"
    if any(entry["best"] for entry in board):
        yield f"{best} the best of its column among the models judged here"
    if any(entry["recommendation"] for entry in board):
        yield f"recommendation: {values['rule']}"
    if any(entry["published"] for entry in board):
        yield "card: what the model's card publishes, measured on other data and another machine"
    yield from (f"note: {notice}" for notice in values["notices"])


def _table(rows: Sequence[Sequence[str]]) -> str:
    return as_table([[_shorten(row[0], _NAME), *row[1:]] for row in rows])


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


def _interval(ends: Sequence[float] | None, form: str = ".4f") -> str:
    return _UNKNOWN if ends is None else f"{ends[0]:{form}} to {ends[1]:{form}}"
