"""The card of a trained model as Markdown, and a summary of it for the terminal.

The rule: every figure comes from the history of the training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.training.recipe_text import recipe_parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ROWS = {
    "model": "this model",
    "mean": "mean of the context",
    "last": "last vector",
    "ridge": "ridge regression",
}
_SPLITS = {
    "validation": "other articles (best epoch chosen by these)",
    "ood": "rows marked ood",
    "training": "windows trained on",
}
_STOPPED = {
    "finished": "all epochs were trained",
    "patience": "the validation cosine did not improve for several epochs",
    "diverged": "the loss became NaN",
}


def as_text(document: Mapping[str, Any], output: str, *, already: bool = False) -> str:
    """Return the result of a training as text for the terminal; ``already`` if it was finished before."""
    state = "already holds this model" if already else f"written in {document['seconds']:.0f} s"
    return "\n".join(
        [
            f"{output}: {document['model_type']}, {document['final_params']:,} parameters, {state}",
            f"  epoch {document['best_epoch']} of {document['history'][-1]['epoch']} is kept",
            *_lines(document["measured"]),
            *(f"  {line}" for line in _signal(document, "  ")),
            f"use it with: lvm-batch run … --model {output}",
        ]
    )


def _lines(measured: Mapping[str, Any]) -> Iterator[str]:
    """Yield the model's cosines on articles that it was not trained on, beside those of predictions without a model."""
    for split, title in (("validation", "held-out articles"), ("ood", "rows marked ood")):
        figures = measured.get(split)
        if figures and None not in {figures[name]["cosine"] for name in _ROWS}:
            cosine, mean, ridge = (figures[name]["cosine"] for name in ("model", "mean", "ridge"))
            yield f"  cosine on {title:<19}  {cosine:.4f}   context's mean {mean:.4f}   ridge regression {ridge:.4f}"


def card_text(document: Mapping[str, Any]) -> str:
    """Return the card as Markdown."""
    return "\n".join(
        [
            f"# Model card: {document['model_type']}",
            "",
            _reads(document),
            f"{document['final_params']:,} parameters. Trained {document['trained_at'][:10]} on "
            f"{document['trained_on']} in {document['seconds']:.0f} s with "
            + ", ".join(f"{name} {number}" for name, number in document["versions"].items())
            + ".",
            "",
            *_data(document),
            "",
            *_recipe(document),
            "",
            *_figures(document["measured"]),
            "",
            *_limits(document),
            "",
        ]
    )


def _reads(document: Mapping[str, Any]) -> str:
    vectors = f"{document['context_length']} vectors of {document['dim']}"
    norm = ", scaled to unit norm," if document["arguments"].get("input_norm") == "unit" else ""
    return f"Reads {vectors}{norm} and predicts the next one, of unit norm."


def _data(document: Mapping[str, Any]) -> Iterator[str]:
    windows, articles = document["windows"], document["articles"]
    yield "## Data"
    yield ""
    yield f"From {', '.join(f'`{name}`' for name in document['dataset'])}, {plural(document['rows'], 'row')}:"
    yield ""
    yield f"- trained on {plural(windows['training'], 'window')} of {plural(articles['training'], 'article')}"
    judges = (
        plural(articles["validation"], "other article")
        if articles["validation"]
        else "the same article's end"
    )
    yield f"- judged by {plural(windows['validation'], 'window')} of {judges}"
    if windows["ood"]:
        yield f"- {plural(windows['ood'], 'window')} marked `ood` kept out of both"
    yield from (f"- {line}" for line in _signal(document, ", "))


def _signal(document: Mapping[str, Any], between: str) -> Iterator[str]:
    """Yield what the training windows say about the next vector; nothing of a training before that was measured."""
    signal = document.get("signal")
    if signal and None not in {signal["any_two"], signal["last_over_first"]}:
        by_place = signal["by_place"]
        yield between.join(
            [
                f"cosine of neighbours {signal['neighbours']:.4f}",
                f"of any two vectors {signal['any_two']:.4f}",
                f"of the first of a context with the next {by_place[0]:.4f}",
            ]
        )


def _recipe(document: Mapping[str, Any]) -> Iterator[str]:
    recipe = document["recipe"]
    yield "## Training"
    yield ""
    yield (
        f"AdamW, learning rate {recipe['learning_rate']:g} ({recipe['schedule']}), weight decay "
        f"{recipe['weight_decay']:g}, batches of {recipe['batch_size']}, gradients clipped to "
        f"{recipe['max_gradient_norm']:g}, seed {document['arguments'].get('seed', 0)}; mean squared error"
        + recipe_parts(recipe)
        + "."
    )
    yield ""
    n_epochs = document["history"][-1]["epoch"]
    yield f"Epoch {document['best_epoch']} of {n_epochs} is kept; {_STOPPED[document['stopped']]}."
    yield ""
    yield "![Loss and cosine by epoch](curves.svg)"


def _figures(measured: Mapping[str, Any]) -> Iterator[str]:
    yield "## Measured"
    yield ""
    yield "Cosine with the true next vector, mean ± standard deviation over windows."
    yield ""
    yield "| windows | predicted by | cosine |"
    yield "| --- | --- | --- |"
    for split, title in _SPLITS.items():
        for name, figure in measured.get(split, {}).items():
            yield f"| {title} | {_ROWS[name]} | {_cosine(figure)} |"


def _cosine(figure: Mapping[str, float | None]) -> str:
    return "no target" if figure["cosine"] is None else f"{figure['cosine']:.4f} ± {figure['std']:.4f}"


def _limits(document: Mapping[str, Any]) -> Iterator[str]:
    yield "## Limits"
    yield ""
    yield "- It works only for vectors of the encoder that made its training data."
    n_articles = document["articles"]["validation"]
    judges = (
        f"{plural(n_articles, 'article')} of the same source"
        if n_articles
        else "the article it was trained on"
    )
    yield f"- It was validated on {judges}; results on other text may differ."
    yield "- The best epoch was chosen on those articles too, so their figure is slightly too good."
