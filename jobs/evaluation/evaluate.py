"""Evaluates models on the rows of a dataset, beside baselines that need no model, and writes the results.

The rule: everything that can be refused is refused before the first row is predicted.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.io.schema import SPLITS
from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.evaluation.direction import directions_of
from lvm_batch.jobs.evaluation.direction_tables import direction_notices
from lvm_batch.jobs.evaluation.evaluation_plots import plots
from lvm_batch.jobs.evaluation.evaluation_text import as_markdown, as_text
from lvm_batch.jobs.evaluation.group_scores import figures_of
from lvm_batch.jobs.evaluation.judged_models import load_bank, load_models
from lvm_batch.jobs.evaluation.judged_rows import JudgedDataset
from lvm_batch.jobs.evaluation.leaderboard import RULE, leaderboard
from lvm_batch.jobs.evaluation.preflight import BOARD, VALUES, check_output
from lvm_batch.jobs.evaluation.row_scores import BASELINES, RIDGE, score_rows
from lvm_batch.jobs.models.seen_rows import SeenRows
from lvm_batch.jobs.output_folder import as_json, make_output_folder, write_files
from lvm_batch.jobs.processes.forkserver import start_forkserver
from lvm_batch.lvm.devices.devices import pick_device
from lvm_batch.lvm.evaluation.bootstrap import CONFIDENCE
from lvm_batch.lvm.evaluation.retrieval import NOT_IN_BANK, RankSearch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from lvm_batch.io.bank.bank import Bank
    from lvm_batch.jobs.console.console import Console
    from lvm_batch.jobs.evaluation.judged_models import JudgedModel
    from lvm_batch.jobs.evaluation.row_scores import RowScores
    from lvm_batch.jobs.settings.evaluate import EvaluateSettings
    from lvm_batch.lvm.inference.thresholds import OwnContext


def evaluate(settings: EvaluateSettings, *, console: Console) -> tuple[dict[str, Any], str]:
    """Evaluate the models of the settings, write the results to the output if there is one, and return them.

    Returns the figures as values and as text. Raises ``DataError``, ``ModelError`` or ``JobError``.
    """
    check_output(settings)
    start_forkserver()  # its processes time single queries
    folder = make_output_folder(settings.output, what="an evaluation") if settings.output else None
    models = load_models(settings)
    dim, length = models[0].checkpoint.dim, _length(models, settings)
    bank = load_bank(settings.bank, dim=dim)
    search = RankSearch(bank.vectors, pick_device(settings.device)) if bank else None
    dataset = JudgedDataset(settings, dim=dim, length=length)
    predictors = {model.name: model.predict for model in models}
    digests = {model.name: digest for model in models if (digest := model.checkpoint.training_vectors)}
    scores = score_rows(
        dataset,
        predictors,
        digests=digests,
        search=search,
        own_context=settings.own_context,
        seed=settings.seed,
        console=console,
    )
    values = _values(settings, models, bank, dataset, scores)
    if folder:
        _write(folder, values, scores)
    return values, as_text(values)


def _length(models: Sequence[JudgedModel], settings: EvaluateSettings) -> int:
    """Return the vectors in a context: those of ``--context-length``, or else as many as the models were trained on."""
    return settings.context_length or models[0].checkpoint.length


def _values(
    settings: EvaluateSettings,
    models: Sequence[JudgedModel],
    bank: Bank | None,
    dataset: JudgedDataset,
    scores: RowScores,
) -> dict[str, Any]:
    dim = models[0].checkpoint.dim
    figures = figures_of(scores, dim=dim, resamples=settings.resamples, seed=settings.seed)
    for name, more in directions_of(scores, resamples=settings.resamples, seed=settings.seed).items():
        figures[name] |= more
    values = {
        "version": version("lvm-batch"),
        "dataset": list(settings.dataset),
        "dim": dim,
        "context_length": _length(models, settings),
        "rows": _rows(dataset, scores),
        "bootstrap": {
            "of": "rows" if scores.labels.articles is None else "articles",
            "resamples": settings.resamples,
            "seed": settings.seed,
            "confidence": CONFIDENCE,
        },
        "models": [_model(model) | figures[model.name] | _seen(model, scores) for model in models],
        "baselines": [{"name": name} | figures[name] for name in BASELINES if name in figures],
        "bank": _bank(bank, scores, settings.own_context) if bank else None,
        "leaderboard": leaderboard(models, figures),
        "rule": RULE,
    }
    return values | {"notices": [*dataset.notices, *_notices(values, settings)]}


def _rows(dataset: JudgedDataset, scores: RowScores) -> dict[str, Any]:
    articles, splits = scores.labels.articles, scores.labels.splits
    return {
        "read": dataset.n_rows,
        "judged": scores.n_rows,
        "left_out": {why: n_rows for why, n_rows in dataset.left_out.items() if n_rows},
        "articles": None if articles is None else len(np.unique(articles)),
        "by_split": {} if splits is None else {name: int((splits == name).sum()) for name in SPLITS},
    }


def _model(model: JudgedModel) -> dict[str, Any]:
    checkpoint = model.checkpoint
    return {
        "name": model.name,
        "path": checkpoint.name,
        "sha256": checkpoint.sha256,
        "architecture": checkpoint.architecture,
        "parameters": checkpoint.n_parameters,
        "bytes": model.n_bytes,
        **model.cost.as_dict,
    }


def _seen(model: JudgedModel, scores: RowScores) -> dict[str, Any]:
    """Return how many rows a model was trained on, None if its checkpoint does not tell."""
    digest = model.checkpoint.training_vectors
    return {"seen": SeenRows.of(scores.told[model.name], digest).values() if digest else None}


def _bank(bank: Bank, scores: RowScores, own_context: OwnContext) -> dict[str, Any]:
    ranks = next(iter(scores.ranks.values()))
    return {
        "path": bank.path,
        "digest": bank.digest,
        "vectors": len(bank.vectors),
        "rows": int((ranks != NOT_IN_BANK).sum()),
        "own_context": own_context,
    }


def _notices(values: Mapping[str, Any], settings: EvaluateSettings) -> Iterator[str]:
    """Yield the limits of the figures."""
    for judged in (*values["models"], *values["baselines"]):
        if n_rows := judged["without_cosine"]:
            yield (
                f"{judged['name']}: {n_rows:,} of {plural(judged['rows'], 'prediction')} have no cosine, "
                "because they are not finite or all zeros; its means are over the others"
            )
    yield from direction_notices(values)
    rows = values["rows"]
    if rows["articles"] is None:
        yield (
            f"some rows have no article in a column `{settings.article_column}`, so rows are drawn one by one: "
            "intervals are too narrow if windows overlap"
        )
    if RIDGE not in {baseline["name"] for baseline in values["baselines"]}:
        what = "row" if rows["articles"] is None else "article"
        yield f"ridge regression is left out: it would be fitted to the same {what} that judges it"
    if values["bank"] and not values["bank"]["rows"]:
        yield "the bank holds no row's target, so retrieval is not measured"
    if len(values["models"]) > 1 and not all(rows["by_split"].get(name) for name in SPLITS):
        yield f"no model is recommended: that needs rows with a `{settings.split_column}` of in_dist and of ood"


def _write(folder: Path, values: Mapping[str, Any], scores: RowScores) -> None:
    figures = dict(plots(values, scores))
    files = {
        **figures,
        BOARD: as_markdown(values, list(figures)).encode(),
        VALUES: as_json(values),
    }
    write_files(folder, files)
