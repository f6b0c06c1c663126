"""The names that people give to columns, by the part that such a column plays.

The rule: names are compared in lower case, with every run of other characters than letters and digits as one
underscore. Of several groups of names, the first one that a dataset has decides, so that `doc_id` comes before `title`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_OTHER = re.compile(r"[^0-9a-z]+")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _joined(words: Iterable[str], ends: Iterable[str], *, by: str = "_") -> frozenset[str]:
    return frozenset(f"{word}{by}{end}" for word in words for end in ends)


_CONTEXT_WORDS = _names("context contexts window windows history")
_TARGET_WORDS = _names("target targets next label labels")
_VECTOR_WORDS = _names(
    "vector vectors vec vecs embedding embeddings embed embeds emb embs dense encoding encodings representation"
    " features"
)

_IDS = _names("id uuid key number")
_TEXTS = _names("article doc document")
_WHOLES = _names(
    "paper post story book section chapter report transcript conversation thread episode session entry note review"
    " ticket parent source file page video item product"
)
ARTICLE = (
    _TEXTS | _joined(_TEXTS, _IDS) | _joined(_TEXTS, ("id",), by=""),
    _joined(_WHOLES, _IDS),
    _names(
        "url uri doi isbn slug path file filename file_name filepath file_path source source_file source_url"
    )
    | _joined((*_TEXTS, "source"), ("name", "path", "url")),
    _names("title headline section chapter book") | _joined((*_TEXTS, "page", "book"), ("title",)),
)
"""Groups of names of the column that says which article a row belongs to, the surest first."""

_MAYBE_ARTICLE = _names("id uuid key guid")

_PIECES = _names("chunk sentence sent paragraph para passage segment part turn")
_PLACES = _names("id index idx no nr num number position pos order offset seq ord")
_LINES = _names("line row")
POSITION = (
    _names("position pos seq seqno sequence ordinal ord order")
    | _joined(("seq", "sequence"), _PLACES)
    | _PIECES
    | _joined(_PIECES, _PLACES)
    | _joined(_PIECES, ("id", "idx", "no", "index"), by=""),
    _names("index idx offset start begin rank step no nr num number n i"),
    _LINES | _joined(_LINES, _PLACES) | _joined(_LINES, ("id", "no"), by=""),
    _names("char_start start_char start_offset start_index start_idx page page_number"),
    _names("timestamp time datetime date ts created_at sent_at"),
    _names("id index_level_0"),
)
"""Groups of names of the column that orders the rows of an article, the surest first."""

LANE = (_names("lane lanes lane_name"),)
SPLIT = (_names("split splits split_name eval_split"),)
_COUNTS = _names(
    "tokens n_tokens num_tokens number_of_tokens token_count tokens_count ntokens n_tok tok_count token_length"
)
TOKENS = (_COUNTS,)
CONTEXT_TOKENS = (_names("context_tokens n_context_tokens num_context_tokens context_token_count"), _COUNTS)


def normalised(name: str) -> str:
    """Return a column's name as it is compared: `chunkIndex`, `Chunk Index` and `chunk.index` are one."""
    return _OTHER.sub("_", _HUMP.sub("_", name).lower()).strip("_")


def _forms(name: str) -> set[str]:
    """Return the forms in which a name is known: of `payload.doc_id`, also `doc_id`, and of `doc_ids`, too."""
    forms = {normalised(name), normalised(name.rpartition(".")[2])}
    return forms | {_singular(form) for form in forms}


def _singular(name: str) -> str:
    return f"{name.removesuffix('indices')}index" if name.endswith("indices") else name.removesuffix("s")


def first_group(names: Iterable[str], groups: Iterable[frozenset[str]]) -> tuple[str, ...]:
    """Return those of ``names`` that are in the first of ``groups`` that has any."""
    known = {name: _forms(name) for name in names}
    for group in groups:
        if found := tuple(name for name, forms in known.items() if forms & group):
            return found
    return ()


def any_group(names: Iterable[str], groups: Iterable[frozenset[str]]) -> tuple[str, ...]:
    """Return those of ``names`` that are in any of ``groups``, the surest first."""
    known = {name: _forms(name) for name in names}
    return tuple(dict.fromkeys(name for group in groups for name, forms in known.items() if forms & group))


def is_maybe_article(name: str) -> bool:
    """Whether a column is named as an article's id, or as a row's own, which does not repeat."""
    return bool(_forms(name) & _MAYBE_ARTICLE)


def may_be_text(name: str) -> bool:
    """Whether a column is named as an article's id, or as its text or title, which need not tell articles apart."""
    return bool(_forms(name) & (_TEXTS | ARTICLE[2] | ARTICLE[3]))


def may_be_any_id(name: str) -> bool:
    """Whether a column is named as the place of a row, or as an id in no order."""
    return bool(_forms(name) & POSITION[-1])


def is_like_context(name: str) -> bool:
    """Whether a column of vectors is named as if it held the contexts of windows."""
    return bool(_CONTEXT_WORDS & _words(name)) and not is_like_target(name)


def is_like_target(name: str) -> bool:
    """Whether a column of vectors is named as if it held the vectors to predict."""
    return bool(_TARGET_WORDS & _words(name)) or normalised(name) == "y"


def is_like_vector(name: str) -> bool:
    """Whether a column is named as if it held vectors."""
    words = _words(name)
    return bool(_VECTOR_WORDS & words) or is_like_context(name) or is_like_target(name)


def _words(name: str) -> set[str]:
    return set(normalised(name).split("_"))
