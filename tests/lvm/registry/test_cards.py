"""Tests of the package's model cards and published figures: they agree, and their counts are true."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from lvm_batch.lvm.architectures.catalog import ARCHITECTURES, PRESETS, build_model
from lvm_batch.lvm.registry.published_cards import PUBLISHED

TOP = Path(__file__).parents[3]
HEADINGS = (
    "Layout",
    "Use",
    "Published figures",
    "Measured here",
    "Training, published",
    "Limits",
    "Monitoring",
)


def card_of(architecture: str) -> str:
    """The card of an architecture."""
    return (TOP / f"lvm/cards/{architecture}.md").read_text(encoding="utf-8")


def number_in_words(count: int) -> str:
    """A number of parameters as cards print it: exactly, or in millions."""
    return f"{count / 1e6:g} M" if count % 100_000 == 0 else f"{count:,}"


def printed(name: str, value: object) -> str:
    """A field of a published card as it is printed."""
    forms = {"n_parameters": number_in_words, "size_mb": "{} MB".format}
    forms |= dict.fromkeys(("latency_ms", "p95_ms"), "{:.2f} ms".format)
    forms |= dict.fromkeys(("in_dist_cosine", "ood_cosine", "in_dist_std", "ood_std"), "{:.4f}".format)
    return str(forms.get(name, str)(value))


def test_every_architecture_has_a_card_and_published_figures() -> None:
    """No architecture lacks a card, and no card lacks an architecture."""
    assert set(PUBLISHED) == set(ARCHITECTURES)
    assert {path.stem for path in (TOP / "lvm/cards").glob("*.md")} == set(ARCHITECTURES)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_published_figures_stand_in_the_card(name: str) -> None:
    """The card's text contains each published figure and the recommendation, as printed."""
    card = card_of(name)
    figures = {field.name: getattr(PUBLISHED[name], field.name) for field in fields(PUBLISHED[name])}
    texts = [
        printed(key, value)
        for key, value in figures.items()
        if value is not None and key not in {"name", "source"}
    ]
    assert [text for text in texts if text not in card] == []


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_source_is_named_with_its_date(name: str) -> None:
    """The card contains every date that a source gives."""
    dates = re.findall(r"\d{4}-\d{2}-\d{2}", PUBLISHED[name].source)
    assert dates
    assert all(date in card_of(name) for date in dates)


@pytest.mark.parametrize("name", [*ARCHITECTURES, *PRESETS])
def test_counted_parameters_are_true(name: str) -> None:
    """The counts in a card equal the model's parameters and float32 bytes."""
    count = build_model(name, seed=0).n_parameters
    card = card_of(PRESETS[name].architecture if name in PRESETS else name)
    (counted,) = re.findall(r"parameters, counted here.*", card)
    (size,) = re.findall(r"size of the weights, float32, counted here.*", card)
    assert f"{count:,} |" in counted
    assert f"{4 * count / 1e6:.2f} MB" in size


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_cards_are_laid_out_alike(name: str) -> None:
    """Every card has the same headings in the same order, and separates dated measurements from published figures."""
    card = card_of(name)
    assert tuple(re.findall(r"^## (.*)$", card, re.MULTILINE)) == HEADINGS
    before, after = card.split("<!-- measured: begin -->")
    measured, rest = after.split("<!-- measured: end -->")
    assert before.rstrip().endswith("## Measured here")
    assert rest.lstrip().startswith("## Training")
    rows = measured.strip().splitlines()[2:]
    assert rows
    assert all(re.search(r"\d{4}-\d{2}-\d{2}|the same", row) for row in rows)


def test_cards_are_installed() -> None:
    """The package data lists the card files, so that they are installed."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))
    assert "cards/*.md" in project["tool"]["setuptools"]["package-data"]["lvm_batch.lvm"]
