"""A calibration as text: tables of at most 110 columns, and the thresholds as lines of a configuration file.

The rule: the text says nothing that the values do not hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.console.text import format_number, plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Values = Mapping[str, Any]

_POLICIES = {
    "random": "random choice",
    "cards": "the cards' thresholds",
    "confidence": "least confident",
    "margin": "smallest margin",
    "both": "confidence and margin",
    "router": "fitted router",
    "oracle": "oracle",
}


def as_text(values: Values) -> str:
    """Return the values of a calibration as tables."""
    return "\n\n".join(
        "\n".join(lines)
        for lines in (
            _head(values),
            _signals(values),
            _thresholds(values),
            _recovered(values),
            _router(values),
            _proposal(values),
        )
    )


def as_toml(values: Values) -> str:
    """Return the proposed thresholds as lines for ``run --config``."""
    thresholds = values["proposed"]
    return (
        f"# for at most {_percent(values['budget'])} of the rows; found on {plural(values['rows'], 'row')} of "
        f"{values['articles']:,} {values['grouped_by']}\n"
        f"min_confidence = {thresholds['min_confidence']!r}\nmin_margin = {thresholds['min_margin']!r}\n"
    )


def _head(values: Values) -> Iterator[str]:
    primary, fallback = values["primary"], values["fallback"]
    yield "calibration"
    yield f"rows      {values['rows']:,} of {values['articles']:,} {values['grouped_by']}"
    yield f"primary   {primary['path']} ({primary['architecture']}), cosine {values['primary_cosine']:.4f}"
    yield (
        f"fallback  {fallback['path']} ({fallback['architecture']}), cosine {values['fallback_cosine']:.4f}, "
        f"better on {values['fallback_is_better']:.1%} of the rows"
    )
    yield f"bank      {values['bank']['path']}, {plural(values['bank']['vectors'], 'vector')}"
    if values["escalated_anyway"]:
        yield f"anyway    {values['escalated_anyway']:.1%} of the rows are escalated by lane or length"


def _signals(values: Values) -> Iterator[str]:
    yield "how well each signal works: its rank correlation with the primary model's cosine, and the chance (AUROC)"
    yield "that of two rows the fallback answers the one with the lower value better (0.5 is a coin toss)"
    for name, signal in values["signals"].items():
        correlation, chance = format_number(signal["spearman"], ".3f"), format_number(signal["auroc"], ".3f")
        yield f"  {name:<12} rank correlation {correlation}   AUROC {chance}"
        for key, label in (("predicted", f"{name}, by tenths"), ("actual", "cosine")):
            tenths = "  ".join(f"{tenth[key]:6.4f}" for tenth in signal["reliability"])
            yield f"    {label:<22}{tenths}".rstrip()


def _thresholds(values: Values) -> Iterator[str]:
    yield "what each threshold alone would escalate, and what the mean cosine of all rows would gain"
    yield "  escalated   confidence below       gain   margin below       gain     random     oracle"
    for row in values["thresholds"]:
        below = {name: format_number(row[name], ".4g") for name in ("confidence", "margin")}
        gains = {
            name: format_number(row[f"{name}_gain"], "+.5f")
            for name in ("confidence", "margin", "random", "oracle")
        }
        yield (
            f"  {row['share']:9.0%}   {below['confidence']:>16}   {gains['confidence']:>8}"
            f"   {below['margin']:>12}   {gains['margin']:>8}   {gains['random']:>8}   {gains['oracle']:>8}"
        )


def _recovered(values: Values) -> Iterator[str]:
    yield (
        f"what a budget of {_percent(values['budget'])} gains with rules that were fitted to other "
        f"{values['grouped_by']} (halved ten times)"
    )
    yield "                           escalated       gain   of the oracle's gain    of escalating all"
    for name, policy in values["policies"].items():
        low, high = policy["interval"] or (None, None)
        between = f"({low:.0%} to {high:.0%})" if low is not None and name != "oracle" else ""
        of_all = "" if name == "oracle" else format_number(policy["of_gap"], ".0%")
        yield (
            f"  {_POLICIES[name]:<22}   {policy['escalated']:9.1%}   {policy['gain']:+8.5f}   "
            f"{format_number(policy['of_oracle'], '.1%'):>6} {between:<16} {of_all:>8}"
        ).rstrip()


def _proposal(values: Values) -> Iterator[str]:
    if values["proposed"] is None:
        yield "no thresholds are proposed: within the budget, none gains anything on these rows"
        return
    head = f"proposed, for `lvm-batch run --config`: escalates {values['proposed']['escalated']:.1%} of these rows; "
    both, chance = (values["policies"][name]["of_oracle"] for name in ("both", "random"))
    if both is None or chance is None:
        yield f"{head}how they do on {values['grouped_by']}"
        yield f"not seen is unknown: {_percent(values['budget'])} of one half of these rows is less than a row"
    else:
        than_chance = "" if both > chance else ": no better than chance"
        yield f"{head}on {values['grouped_by']} not seen,"
        yield (
            f"such thresholds recover {both:.0%} of the oracle's gain, random choice {chance:.0%}"
            f"{than_chance}"
        )
    yield ""
    yield as_toml(values).rstrip()


def _router(values: Values) -> Iterator[str]:
    router, anyway = values["router"], values["escalated_anyway"]
    if anyway >= values["budget"] > 0:
        yield (
            f"lane and length alone escalate {anyway:.1%}, the whole budget; a router may take "
            f"{_percent(values['budget'])} of the other rows"
        )
    if router["interval"] is None or router["random"] is None:
        yield "no router is proposed: it would escalate no row, or its gain on other articles is unknown"
        return
    low, high = router["interval"]
    recovered = f"{router['of_oracle']:.0%} ({low:.0%} to {high:.0%}) of the oracle's gain"
    unseen = f"on {values['grouped_by']} that it was not fitted on, random choice {router['random']:.0%}"
    if not router["is_better"]:
        yield f"no router is proposed: a fitted one recovers {recovered}"
        yield f"{unseen}, which may be due to chance"
        return
    yield f"router, escalates {router['escalated']:.1%} of the rows{' left' if anyway else ''}: recovers {recovered}"
    yield unseen
    where = f": {router['file']}, beside these figures" if router["file"] else "; --output DIR writes it"
    yield f"  for `lvm-batch run --router`{where}"


def _percent(share: float) -> str:
    """Return a share with the digits that the user gave."""
    return f"{100 * share:.6g}%"
