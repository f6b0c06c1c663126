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

_CONTEXT_WORDS = {"context", "contexts", "window", "windows", "history"}
_TARGET_WORDS = {"target", "targets", "next", "label", "labels"}
_VECTOR_WORDS = {
    *("vector", "vectors", "vec", "vecs", "embedding", "embeddings", "embed", "embeds", "emb", "embs"),
    *("dense", "encoding", "encodings", "representation", "features"),
}
_PIECES = (
    "chunk",
    "sentence",
    "sent",
    "paragraph",
    "para",
    "passage",
    "segment",
    "part",
    "turn",
    "line",
    "row",
)
_PLACES = ("id", "index", "idx", "no", "nr", "num", "number", "position", "pos", "order", "offset", "seq")
_WHOLES = (
    *("paper", "post", "story", "book", "section", "chapter", "report", "transcript"),
    *(
        "conversation",
        "thread",
        "episode",
        "session",
        "entry",
        "note",
        "review",
        "ticket",
        "parent",
        "source",
    ),
    *("file", "page", "video", "item", "product"),
)

ARTICLE = (
    frozenset(
        {"article", "doc", "document", "articleid", "docid", "documentid"}
        | {
            f"{text}_{end}"
            for text in ("article", "doc", "document")
            for end in ("id", "uuid", "key", "number")
        }
    ),
    frozenset({f"{whole}_{end}" for whole in _WHOLES for end in ("id", "uuid", "key", "number")}),
    frozenset(
        {"url", "uri", "doi", "isbn", "slug", "path", "filename", "filepath", "file_path", "file", "source"}
    ),
    frozenset({"title", "headline", "section", "chapter", "book"}),
)
"""Groups of names of the column that says which article a row belongs to, the surest first."""

_MAYBE_ARTICLE = frozenset({"id", "uuid", "key", "guid"})

POSITION = (
    frozenset(
        {
            "position",
            "pos",
            "seq",
            "sequence",
            "seqno",
            "sequence_number",
            "ordinal",
            "order",
            "chunk",
            "sentence",
        }
        | {f"{piece}_{place}" for piece in _PIECES for place in _PLACES}
        | {f"{piece}{place}" for piece in _PIECES for place in ("id", "idx", "no", "index")}
    ),
    frozenset({"index", "idx", "offset", "start", "begin", "rank", "step", "line", "row", "turn", "n", "i"}),
    frozenset(
        {"char_start", "start_char", "start_offset", "start_index", "start_idx", "page", "page_number"}
    ),
    frozenset({"id", "index_level_0"}),
)
"""Groups of names of the column that orders the rows of an article, the surest first."""

LANE = (frozenset({"lane", "lanes", "lane_name"}),)
SPLIT = (frozenset({"split", "splits", "split_name", "eval_split"}),)
TOKENS = (
    frozenset(
        {
            "tokens",
            "n_tokens",
            "num_tokens",
            "token_count",
            "tokens_count",
            "token_counts",
            "ntokens",
            "n_tok",
        }
        | {"tok_count", "number_of_tokens", "count_tokens", "token_len", "token_length"}
    ),
)
CONTEXT_TOKENS = (
    frozenset({"context_tokens", "n_context_tokens", "context_token_count", "num_context_tokens"}),
    *TOKENS,
)


def normalised(name: str) -> str:
    """Return a column's name as it is compared: `chunkIndex`, `Chunk Index` and `chunk.index` are one."""
    return _OTHER.sub("_", _HUMP.sub("_", name).lower()).strip("_")


def _forms(name: str) -> set[str]:
    """Return the forms in which a name is known: of `payload.doc_id`, also `doc_id`."""
    return {normalised(name), normalised(name.rpartition(".")[2])}


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
    return normalised(name) in _MAYBE_ARTICLE


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
