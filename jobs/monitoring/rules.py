"""The rules of ``monitor``: their options, the defaults, and where these come from.

The rule: a rule and its thresholds are declared once; the file that users edit, its checks and its printed form follow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lvm_batch.jobs.console.text import nearest
from lvm_batch.jobs.errors import Problem, SettingsError
from lvm_batch.jobs.settings.toml_files import read_toml

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pydantic_core import ErrorDetails

_CARD = "the model cards"
_OWN = "lvm-batch's own, as the cards say nothing of it"

Cosine = Annotated[float, Field(ge=-1, le=1)]
Rate = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Auc = Annotated[float, Field(ge=0.5, lt=1)]


class Rule(BaseModel):
    """The options of all rules."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    enabled: bool = Field(default=True, description="false leaves the rule out")


class OodCosine(Rule):
    """Mean cosine of the rows whose split is ood, pooled over the window."""

    min: Cosine = Field(default=0.60, description=f"fires below it; {_CARD}' alert")
    target: Cosine = Field(default=0.63, description=f"what should be reached; {_CARD}")


class OodDelta(Rule):
    """Mean cosine of ood rows minus that of in_dist rows, against the runs before the window."""

    max_drop: Positive = Field(default=0.03, description=f"fires where it fell by more; {_CARD}, over 24 h")


class FallbackRate(Rule):
    """Fraction of rows that the fallback answered, pooled over the window, of runs that have one."""

    max: Rate = Field(default=0.20, description=f"fires above it; {_CARD}' target")


class QueryP95(Rule):
    """p95 of the primary model's time for a single query, of each run, also against the first on its processor."""

    max_ms: Positive = Field(default=1.5, description=f"fires above it; {_CARD}' alert")
    max_growth: Annotated[float, Field(ge=1)] = Field(
        default=2.0,
        description=f"fires only above so many times the first p95 of such a model on the processor; {_OWN}",
    )
    objective_ms: Positive = Field(default=1.2, description=f"what is promised; {_CARD}' SLO")
    target_ms: Positive = Field(default=1.0, description=f"what should be reached; {_CARD}")


class QueryRate(Rule):
    """Queries a second of one thread, of each run, against the first of such a model on its processor."""

    min_share: Rate = Field(default=0.5, description=f"fires below this share of the first; {_OWN}")
    target: Positive = Field(
        default=1500.0, description=f"does not fire above it, as it should be reached; {_CARD}"
    )


class RowsPerS(Rule):
    """Rows per second of each run, against the median of runs before it of its job shape, of half to twice its rows."""

    min_share: Rate = Field(default=0.5, description=f"fires below this share of the median; {_OWN}")
    last_runs: Count = Field(default=10, description=f"runs that the median is taken of, at most; {_OWN}")
    min_runs: Count = Field(default=3, description=f"runs that it takes, at least; {_OWN}")


class Memory(Rule):
    """A worker's memory at its peak, of each run, against what the plan projected."""

    max_share: Positive = Field(
        default=1.25,
        description="fires above this share of the projection, which is promised within 25 %; README",
    )


class ShadowGain(Rule):
    """Cosine of the fallback minus that of the primary, on rows of the shadow evaluation, pooled over the window."""

    margin: Cosine = Field(
        default=0.01, description=f"fires where the interval's lower end lies above; {_OWN}"
    )
    confidence: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.95, description=f"of the two-sided z-interval; {_OWN}"
    )
    min_rows: Annotated[int, Field(ge=2)] = Field(default=30, description=f"rows that it takes; {_OWN}")


class EscalationGain(Rule):
    """Cosine of the fallback minus that of the primary, on escalated rows, pooled over the window."""

    max_loss: Rate = Field(
        default=0.0, description=f"fires where the whole interval lies below minus this; {_OWN}"
    )
    confidence: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.99, description=f"of the two-sided z-interval; {_OWN}"
    )
    min_rows: Annotated[int, Field(ge=2)] = Field(default=30, description=f"rows that it takes; {_OWN}")


class InputNorm(Rule):
    """Mean norm of sampled input vectors, against the runs before the window."""

    max_change: Positive = Field(
        default=0.05, description=f"fires where it changed by a larger share; {_OWN}"
    )


class InputCentroid(Rule):
    """Mean of sampled input vectors, against that of the runs before the window."""

    min_cosine: Cosine = Field(default=0.90, description=f"fires where the two are less alike; {_OWN}")


class SeenRows(Rule):
    """Share of sampled input rows that the primary model was trained on, whose cosines say little of others."""

    max: Rate = Field(default=0.5, description=f"fires above it; {_OWN}")


class SampleRule(Rule):
    """The options of rules that compare sampled rows with those of the runs before."""

    max_p: Annotated[float, Field(ge=0.001, le=1)] = Field(
        default=0.002,
        description=f"fires up to it: how often as much by chance, of 1,000 deals of articles; {_OWN}",
    )
    last_runs: Count = Field(default=14, description=f"runs before the window, at most; {_OWN}")
    min_runs: Annotated[int, Field(ge=5)] = Field(
        default=5, description=f"runs that it takes, at least; {_OWN}"
    )


class InputDrift(SampleRule):
    """Whether a classifier tells sampled inputs from those of the runs before: its area under the ROC curve."""

    min_auc: Auc = Field(default=0.65, description=f"fires above it, and above what is usual; {_OWN}")


class PredictionDrift(SampleRule):
    """Whether a classifier tells sampled predictions from those of runs before of the same models."""

    min_auc: Auc = Field(default=0.65, description=f"fires above it, and above what is usual; {_OWN}")


class ConfidenceDrift(SampleRule):
    """Largest difference in the share of rows below a confidence, against runs before of the same models and bank."""

    min_distance: Rate = Field(default=0.15, description=f"fires above it, and above what is usual; {_OWN}")


class ReasonDrift(SampleRule):
    """Share of rows with other reasons to escalate than before, by the same models, bank and thresholds."""

    min_share: Rate = Field(default=0.10, description=f"fires above it, and above what is usual; {_OWN}")


class Rules(BaseModel):
    """Every rule, in the order of the output."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    ood_cosine: OodCosine = OodCosine()
    ood_delta: OodDelta = OodDelta()
    fallback_rate: FallbackRate = FallbackRate()
    query_p95: QueryP95 = QueryP95()
    query_rate: QueryRate = QueryRate()
    rows_per_s: RowsPerS = RowsPerS()
    memory: Memory = Memory()
    shadow_gain: ShadowGain = ShadowGain()
    escalation_gain: EscalationGain = EscalationGain()
    input_norm: InputNorm = InputNorm()
    input_centroid: InputCentroid = InputCentroid()
    seen_rows: SeenRows = SeenRows()
    input_drift: InputDrift = InputDrift()
    prediction_drift: PredictionDrift = PredictionDrift()
    confidence_drift: ConfidenceDrift = ConfidenceDrift()
    reason_drift: ReasonDrift = ReasonDrift()


RULES = tuple(Rules.model_fields)


def load_rules(path: Path) -> Rules:
    """Return the rules of a TOML file, defaults where it says nothing; raises SettingsError with every problem."""
    hint = "`lvm-batch monitor --print-rules` prints a file to begin with"
    given = read_toml(path, option="--rules", hint=hint)
    try:
        return Rules.model_validate(given)
    except ValidationError as error:
        raise SettingsError(*(_wrong(detail, path) for detail in error.errors(include_url=False))) from error


def rules_text(rules: Rules) -> str:
    """Return rules as the TOML file that gives them, with what each threshold is and where its default comes from."""
    return "\n".join(line for name in RULES for line in _section(name, getattr(rules, name)))


def _section(name: str, rule: Rule) -> Iterator[str]:
    yield from (f"# {rule.__doc__}", f"[{name}]")
    for key, field in type(rule).model_fields.items():
        value = getattr(rule, key)
        text = str(value).lower() if isinstance(value, bool) else repr(value)
        yield f"{key} = {text}  # {field.description}"
    yield ""


def _wrong(detail: ErrorDetails, path: Path) -> Problem:
    name, *key = (str(part) for part in detail["loc"])
    place = ".".join((name, *key))
    if detail["type"] == "extra_forbidden":
        known: Iterable[str] = getattr(Rules(), name).__class__.model_fields if key else RULES
        return _unknown(
            place, (key or [name])[0], known, path, what="a key of this rule" if key else "a rule"
        )
    allowed = detail["msg"].removeprefix("Input should be ")
    if not key:
        return Problem(
            f"{place} in {path} cannot be {_brief(detail['input'])}", f"write a table of its keys: [{name}]"
        )
    return Problem(f"{place} in {path} cannot be {_brief(detail['input'])}", f"it can be {allowed}")


def _unknown(place: str, name: str, known: Iterable[str], path: Path, *, what: str) -> Problem:
    near = nearest(name, known)
    hint = f"did you mean {near}?" if near else f"it can be one of {', '.join(known)}"
    return Problem(f"{place} in {path} is not {what}", hint)


def _brief(value: Any) -> str:  # noqa: ANN401 - whatever TOML holds
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"  # noqa: PLR2004 - characters of a line
