"""Documents of sentences with a vector each, and what a model must answer to them, computed without the product.

The rule: a dataset is made from ``Documents``, whatever form its files have; the answers to them follow from these
documents and the weights of a model alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SENTENCES = (23, 3, 31, 1, 17, 40, 5)
"""Sentences of each article: some have no whole window, one has a single window and no target."""


@dataclass(frozen=True)
class Answer:
    """What must come out for one row: its status, and for ``ok`` the context that is read, (length, dim) float32.

    ``target`` is the true next vector, (dim,) float32, None if there is none.
    """

    status: str
    context: NDArray[np.float32] | None = None
    target: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Documents:
    """Sentences in the order of their rows: ``article`` and ``position`` (n,), ``vectors`` (n, dim) float32.

    ``bad`` holds the texts of the sentences whose vectors are unusable.
    """

    article: NDArray[np.int64]
    position: NDArray[np.int64]
    vectors: NDArray[np.float32]
    bad: frozenset[str] = frozenset()

    @property
    def n_rows(self) -> int:
        """The number of sentences."""
        return len(self.article)

    @property
    def texts(self) -> list[str]:
        """The text of each sentence; no two are alike."""
        return [
            f"Sentence {position} of article {article}."
            for article, position in zip(self.article.tolist(), self.position.tolist(), strict=True)
        ]

    @property
    def lists(self) -> list[NDArray[np.float32]]:
        """The vector of each sentence."""
        return list(self.vectors)

    @property
    def uuids(self) -> list[str]:
        """The article of each sentence as a UUID; their order is not that of the numbers."""
        return [
            f"{article * 2654435761 % 2**32:08x}-9c1f-4a57-8e0b-5d2f6c3a7b10"
            for article in self.article.tolist()
        ]

    def take(self, order: Any) -> Documents:  # noqa: ANN401 - whatever indexes an array
        """Return the sentences at the places ``order``."""
        parts = {name: getattr(self, name)[order] for name in ("article", "position", "vectors")}
        return replace(self, **parts)

    def of(self, *articles: int) -> Documents:
        """Return the sentences of some articles."""
        return self.take(np.isin(self.article, articles))

    def shuffled(self) -> Documents:
        """Return the sentences in no order."""
        return self.take(np.random.default_rng(5).permutation(self.n_rows))

    def cut(self, n_parts: int) -> list[Documents]:
        """Cut the rows into parts of nearly the same size; articles go on in the next part."""
        return [self.take(rows) for rows in np.array_split(np.arange(self.n_rows), n_parts)]

    def columns(self, **names: str) -> dict[str, Any]:
        """Return properties as columns: ``columns(doc_id="uuids")``."""
        return {column: getattr(self, name) for column, name in names.items()}

    def in_reading_order(self) -> list[list[str]]:
        """Return the texts of each article in the order of their positions."""
        return [[self.texts[row] for row in rows] for rows in self._articles()]

    def answers(self, length: int = 5) -> dict[str, Answer]:
        """Return what must come out for each text: the window that ends at a sentence predicts the next one."""
        return {
            self.texts[rows[place]]: self._answer(rows, place, length)
            for rows in self._articles()
            for place in range(len(rows))
        }

    def _articles(self) -> list[list[int]]:
        order = np.lexsort((self.position, self.article))
        edges = np.flatnonzero(np.diff(self.article[order])) + 1
        return [rows.tolist() for rows in np.split(order, edges)]

    def _answer(self, rows: Sequence[int], place: int, length: int) -> Answer:
        if place < length - 1:
            return Answer("short_context")
        context = list(rows[place - length + 1 : place + 1])
        if self._are_bad(context):
            return Answer("bad_input")
        after = list(rows[place + 1 : place + 2])
        target = self.vectors[after[0]] if after and not self._are_bad(after) else None
        return Answer("ok", self.vectors[context], target)

    def _are_bad(self, rows: Sequence[int]) -> bool:
        return bool(self.bad & {self.texts[row] for row in rows})


def documents(dim: int, *, sentences: Sequence[int] = SENTENCES, seed: int = 1) -> Documents:
    """Make articles of so many ``sentences``, in order, with vectors of ``dim`` that are alike within an article."""
    rng = np.random.default_rng(seed)
    article = np.repeat(np.arange(len(sentences)), sentences)
    position = np.concatenate([np.arange(n_sentences) for n_sentences in sentences])
    subjects = rng.standard_normal((len(sentences), dim))
    vectors = subjects[article] + rng.standard_normal((len(article), dim))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return Documents(article, position, unit.astype(np.float32))


@dataclass(frozen=True)
class Wild:
    """A dataset as somebody has it: what a newcomer types after ``inspect``, and what must come out of it.

    ``answers`` go by the text of a row; ``rows`` are the texts as the files hold them, file by file, ``articles`` the
    texts of each article in reading order: empty for windows, whose order means nothing. Models for it have vectors of
    ``dim`` and contexts of ``length``.
    """

    dataset: str
    rows: Sequence[str]
    articles: Sequence[Sequence[str]]
    answers: dict[str, Answer]
    dim: int
    length: int = 5


def wild(dataset: object, rows: Documents, *, length: int = 5) -> Wild:
    """Describe a dataset of these rows, in the order of its files."""
    answers, articles = rows.answers(length), rows.in_reading_order()
    return Wild(str(dataset), rows.texts, articles, answers, rows.vectors.shape[1], length)
