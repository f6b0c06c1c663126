"""The rules of ``monitor``: their options, the defaults, and where these come from.

The rule: a rule and its thresholds are declared once; the file that users edit follows (``rule_files``).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_CARD = "the model cards"
_OWN = "lvm-batch's own; the cards give no value"

Cosine = Annotated[float, Field(ge=-1, le=1)]
Rate = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Auc = Annotated[float, Field(ge=0.5, lt=1)]


class Rule(BaseModel):
    """The options of all rules."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    enabled: bool = Field(default=True, description="false switches the rule off")


class OodCosine(Rule):
    """Mean cosine of the rows whose split is ood, pooled over the window."""

    min: Cosine = Field(default=0.60, description=f"fires below this; {_CARD}' alert")
    target: Cosine = Field(default=0.63, description=f"the goal; {_CARD}")


class OodDelta(Rule):
    """Mean cosine of ood rows minus that of in_dist rows, against the runs before the window."""

    max_drop: Positive = Field(default=0.03, description=f"fires if it fell by more; {_CARD}, over 24 h")


class FallbackRate(Rule):
    """Fraction of rows that the fallback answered, pooled over the window, of runs that have one."""

    max: Rate = Field(default=0.20, description=f"fires above this; {_CARD}' target")


class QueryP95(Rule):
    """p95 of the primary model's time for a single query, of each run, also against the first on its processor."""

    max_ms: Positive = Field(default=1.5, description=f"fires above this; {_CARD}' alert")
    max_growth: Annotated[float, Field(ge=1)] = Field(
        default=2.0,
        description=f"fires only above this multiple of the first p95 of such a model on the processor; {_OWN}",
    )
    objective_ms: Positive = Field(default=1.2, description=f"the promised value; {_CARD}' SLO")
    target_ms: Positive = Field(default=1.0, description=f"the goal; {_CARD}")


class QueryRate(Rule):
    """Queries a second of one thread, of each run, against the first of such a model on its processor."""

    min_share: Rate = Field(default=0.5, description=f"fires below this share of the first; {_OWN}")
    target: Positive = Field(default=1500.0, description=f"the goal, above which it does not fire; {_CARD}")


class QueryMemory(Rule):
    """Memory of the primary model and a single query, of each run, also against the first on its processor."""

    max_mb: Positive = Field(default=20.0, description=f"fires above it; {_CARD}")
    max_growth: Annotated[float, Field(ge=1)] = Field(
        default=1.5, description=f"fires only above so many times the first of such a model there; {_OWN}"
    )
    target_mb: Positive = Field(default=15.0, description=f"what should be reached; {_CARD}")


class RowsPerS(Rule):
    """Rows per second of each run, against the median of runs before it of its job shape, of half to twice its rows."""

    min_share: Rate = Field(default=0.5, description=f"fires below this share of the median; {_OWN}")
    last_runs: Count = Field(default=10, description=f"most runs that the median uses; {_OWN}")
    min_runs: Count = Field(default=3, description=f"fewest runs that it needs; {_OWN}")


class Memory(Rule):
    """A worker's memory at its peak, of each run, against what the plan projected."""

    max_share: Positive = Field(
        default=1.25,
        description="fires above this share of the projection, which is within 25 % of the measured peak; README",
    )


class ShadowGain(Rule):
    """Cosine of the fallback minus that of the primary, on rows of the shadow evaluation, pooled over the window."""

    margin: Cosine = Field(
        default=0.01, description=f"fires if the interval's lower end is above this; {_OWN}"
    )
    confidence: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.95, description=f"confidence of the two-sided z-interval; {_OWN}"
    )
    min_rows: Annotated[int, Field(ge=2)] = Field(
        default=30, description=f"fewest rows that it needs; {_OWN}"
    )


class EscalationGain(Rule):
    """Cosine of the fallback minus that of the primary, on escalated rows, pooled over the window."""

    max_loss: Rate = Field(
        default=0.0, description=f"fires if the whole interval is below minus this; {_OWN}"
    )
    confidence: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.99, description=f"confidence of the two-sided z-interval; {_OWN}"
    )
    min_rows: Annotated[int, Field(ge=2)] = Field(
        default=30, description=f"fewest rows that it needs; {_OWN}"
    )


class InputNorm(Rule):
    """Mean norm of sampled input vectors, against the runs before the window."""

    max_change: Positive = Field(default=0.05, description=f"fires if it changed by a larger share; {_OWN}")


class InputCentroid(Rule):
    """Mean of sampled input vectors, against that of the runs before the window."""

    min_cosine: Cosine = Field(default=0.90, description=f"fires if the two are less alike; {_OWN}")


class SeenRows(Rule):
    """Share of sampled input rows that the primary model was trained on, whose cosines say little of others."""

    max: Rate = Field(default=0.5, description=f"fires above this; {_OWN}")


class SampleRule(Rule):
    """The options of rules that compare sampled rows with those of the runs before."""

    max_p: Annotated[float, Field(ge=0.001, le=1)] = Field(
        default=0.002,
        description=f"fires up to this: how often chance gives as much, in 1,000 random deals of articles; {_OWN}",
    )
    last_runs: Count = Field(default=14, description=f"most runs before the window; {_OWN}")
    min_runs: Annotated[int, Field(ge=5)] = Field(default=5, description=f"fewest runs that it needs; {_OWN}")


class InputDrift(SampleRule):
    """Whether a classifier tells sampled inputs from those of the runs before: its area under the ROC curve."""

    min_auc: Auc = Field(default=0.65, description=f"fires above this and above what is usual; {_OWN}")


class PredictionDrift(SampleRule):
    """Whether a classifier tells sampled predictions from those of runs before of the same models."""

    min_auc: Auc = Field(default=0.65, description=f"fires above this and above what is usual; {_OWN}")


class ConfidenceDrift(SampleRule):
    """Largest difference in the share of rows below a confidence, against runs before of the same models and bank."""

    min_distance: Rate = Field(default=0.15, description=f"fires above this and above what is usual; {_OWN}")


class ReasonDrift(SampleRule):
    """Share of rows with other reasons to escalate than before, by the same models, bank and thresholds."""

    min_share: Rate = Field(default=0.10, description=f"fires above this and above what is usual; {_OWN}")


class Rules(BaseModel):
    """Every rule, in the order of the output."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    ood_cosine: OodCosine = OodCosine()
    ood_delta: OodDelta = OodDelta()
    fallback_rate: FallbackRate = FallbackRate()
    query_p95: QueryP95 = QueryP95()
    query_rate: QueryRate = QueryRate()
    query_memory: QueryMemory = QueryMemory()
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
