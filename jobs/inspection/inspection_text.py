"""The description of a dataset as text, in sections, for a terminal of 80 columns.

The rule: the text says nothing that the values do not hold. Only commands, which must stay whole to be pasted, and
paths are longer than a line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.datasets.command_lines import from_here
from lvm_batch.jobs.inspection.wrapping import INDENT, entries, fill, item, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MIB = 2**20
_MANY_COLUMNS = 40
_SHOWN_DETAILS = 3
_WITHOUT = {
    "target": "without it cosines are null",
    "lane": "without it high_stakes_lane is not evaluated",
    "tokens": "without it long_context is not evaluated",
    "context_tokens": "without it long_context is not evaluated",
    "split": "without it results are not shown by split",
    "article": "windows are grouped by the vectors that they share",
}


_STAND_INS = {
    "article": "each file is one article",
    "position": "rows are already in reading order",
}
_HOW = {"found": ", by its type and name", "option": ", as you say", "first of several": ", the first choice"}


def as_text(values: dict[str, Any]) -> str:
    """Return the lines of a description."""
    sections = {
        "": [_input(values)],
        "files of other formats": list(_other_formats(values["other_formats"])),
        "columns": list(_columns(values["schema"])),
        "parts": entries(_parts(values)) if values["shape"] else [],
        "rows": entries(_rows(values)),
        "reading": entries(_reading(values)),
        "at hand": entries(_at_hand(values)),
        "problems": [line for problem in values["problems"] for line in _problem(problem)],
        "notes": [line for notice in values["notices"] for line in item(notice)],
        "next": [line for step in values["commands"] for line in _step(step)],
        **{
            f"or, with `{other['column']}`": [line for step in other["commands"] for line in _step(step)]
            for other in values["alternatives"]
        },
    }
    blocks = ("\n".join([title, *lines] if title else lines) for title, lines in sections.items() if lines)
    return "\n\n".join(blocks)


def _input(values: dict[str, Any]) -> str:
    name = values["dataset"][0] if len(values["dataset"]) == 1 else plural(len(values["dataset"]), "argument")
    if not values["files"]:
        return f"{name}: {plural(len(values['other_formats']), 'file')}, none of them Parquet"
    layouts = f" of {' and '.join(values['layouts'])}" if values["layouts"] else ""
    return (
        f"{name}: {plural(values['rows'], 'row')} in {plural(values['files'], 'file')}{layouts}, "
        f"{_size(values['bytes'])}"
    )


def _size(n_bytes: int) -> str:
    return f"{n_bytes / _MIB:,.1f} MiB" if n_bytes >= _MIB else f"{n_bytes / 2**10:,.1f} KiB"


def _other_formats(files: list[dict[str, Any]]) -> Iterator[str]:
    for file in files[:_MANY_COLUMNS]:
        holds = f": {file['holds']}" if file["holds"] else ""
        yield from wrapped(from_here(file["file"]), f"{file['format']}{holds}")
        if file["hint"]:
            yield from wrapped("", file["hint"])


def _columns(schema: list[dict[str, Any]]) -> Iterator[str]:
    width = max((len(column["name"]) for column in schema[:_MANY_COLUMNS]), default=0)
    for column in schema[:_MANY_COLUMNS]:
        yield from wrapped(column["name"], " or ".join(column["types"]), width=min(width + 2, 30))
    if (more := len(schema) - _MANY_COLUMNS) > 0:
        yield f"{INDENT}and {more:,} more; --json lists all"


def _parts(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    layout = values["layouts"][0] if values["layouts"] else None
    for part, found in values["parts"].items():
        yield part.replace("_", " "), _part(part, found, values)
    if layout == "sequences":
        yield "target", "the next row's vector"
    if values["carried"]:
        yield "carried", ", ".join(f"`{name}`" for name in values["carried"])


def _part(part: str, found: dict[str, Any], values: dict[str, Any]) -> str:
    name = found["column"]
    others = [f"`{other}`" for other in found["candidates"] if other != name]
    if name is None:
        could = f"; {' or '.join(others)} would fit" if others else ""
        return f"none{': ' if part in _WITHOUT else ''}{_WITHOUT.get(part, '')}{could}"
    if found["found"] == "stand-in":
        return f"{name}: {_STAND_INS[part]}"
    also = f"; {' or '.join(others)} would fit too" if others else ""
    return f"`{name}`{_measured(part, values)}{_HOW.get(found['found'], '')}{also}"


def _measured(part: str, values: dict[str, Any]) -> str:
    shape = values["shape"]
    if shape is None or part not in {"context", "vector", "target"}:
        return ""
    vectors = f"{shape['length']} vectors of {shape['dim']:,}" if part == "context" else f"{shape['dim']:,}"
    stored = next(
        (one for one in values["vectors"] if one["column"] == values["parts"][part]["column"]), None
    )
    kind = f" {stored['values']}, {stored['encoding']}" if stored else ""
    return f": {vectors}{kind or ' floats'}"


def _rows(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    order, sample = values["order"], values["sample"]
    if order:
        least = "" if order["is_complete"] else "at least "
        yield "order", _order(order["disorder"])
        yield "articles", f"{least}{order['articles']:,}{_cuts(values['cut_articles'])}"
        if order["disorder"] is None:
            length = values["shape"]["length"]
            yield (
                "windows",
                f"{least}{plural(order['windows'], 'row', ('has', 'have'))} a whole context of {length} vectors",
            )
    if sample["rows"]:
        yield "sample", _sample(sample)
        for row in sample["details"][:_SHOWN_DETAILS]:
            yield "", f"row {row['row']:,}: {row['detail']}, in {from_here(row['file'])}"
        if sample["vector_norm"] is not None:
            yield "norm", f"{sample['vector_norm']:.4f} on average"
        if sample["targets"]:
            yield "cosine", _cosines(sample)
        if sample["signal"]["neighbours"] is not None and sample["signal"]["any_two"] is not None:
            yield "signal", _signal(sample["signal"])
    for number, (criterion, why) in enumerate(values["criteria_not_evaluated"].items()):
        yield "" if number else "routing", f"{criterion} is not evaluated: {why}"


def _order(disorder: dict[str, Any] | None) -> str:
    if disorder is None:
        return "every article's rows are in order"
    are = "is" if disorder["rows"] == 1 else "are"
    return (
        f"{plural(disorder['rows'], 'row')} of {plural(disorder['articles'], 'article')} {are} out of order, in "
        f"{disorder['files']:,} of {plural(disorder['n_files'], 'file')}"
    )


def _cuts(cuts: dict[str, Any] | None) -> str:
    if cuts is None:
        return ", each in one piece"
    goes = "goes" if cuts["in_several_files"] == 1 else "go"
    return f"; {cuts['articles']:,} in several pieces, {cuts['in_several_files']:,} of which {goes} on in another file"


def _sample(sample: dict[str, Any]) -> str:
    what = "vectors" if sample["of_single_vectors"] else "rows"
    which = (
        f"all {sample['rows']:,} {what}" if sample["is_whole"] else f"{sample['rows']:,} {what} of some files"
    )
    shares = {status: n_rows for status, n_rows in sample["by_status"].items() if n_rows}
    return f"{which}: " + ", ".join(
        f"{n_rows:,} {status} ({n_rows / sample['rows']:.1%})" for status, n_rows in shares.items()
    )


def _cosines(sample: dict[str, Any]) -> str:
    last, mean = sample["last_vector_cosine"], sample["context_mean_cosine"]
    return f"with the target: last vector {last:.4f}, mean of the context {mean:.4f}"


def _signal(signal: Mapping[str, Any]) -> str:
    text = f"cosine of neighbours {signal['neighbours']:.4f}, of any two vectors {signal['any_two']:.4f}"
    if signal["last_over_first"] is None:
        return text
    places = ", ".join(f"{cosine:.4f}" for cosine in signal["by_place"])
    return f"{text}; of each vector of the context with the target: {places}"


def _reading(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    groups, units = values["row_groups"], values["units"]
    if not groups["count"]:
        return
    yield "decoded", _size(values["decoded_bytes"])
    yield "row groups", f"{groups['count']:,}, median {plural(groups['median_rows'], 'row')}"
    yield "units", f"{units['count']:,} of at most {_size(units['unit_bytes'])} decoded"


def _at_hand(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if values["shape"] is None:
        return
    for model in values["models"]:
        takes = f"{model['architecture']}, contexts of {model['length']} vectors"
        yield "model", f"{model['name']}{_roles(model['roles'])}: {_fit(model, takes)}"
    if not any(model["fits"] for model in values["models"]):
        yield "model", f"none for vectors of {values['shape']['dim']:,}; no weights ship"
    for bank in values["banks"]:
        yield "bank", f"{bank['path']}: {_fit(bank, plural(bank['vectors'] or 0, 'vector'))}"


def _roles(roles: list[str]) -> str:
    return f" ({', '.join(roles)})" if roles else ""


def _fit(thing: dict[str, Any], what: str) -> str:
    if thing["problem"]:
        return str(thing["problem"])
    if thing["dim"] is None:
        return "its input is known only when it is loaded"
    return f"{what} of {thing['dim']:,}; it {'fits' if thing['fits'] else 'does not fit'}"


def _problem(problem: Mapping[str, str]) -> Iterator[str]:
    yield from item(problem["message"])
    yield from fill(problem["hint"], first=f"{INDENT}  what to do: ", other=f"{INDENT}  ")


def _step(step: Mapping[str, str]) -> Iterator[str]:
    yield from fill(step["purpose"], first=f"{INDENT}# ", other=f"{INDENT}# ")
    yield f"{INDENT}{step['command']}"
