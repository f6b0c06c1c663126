"""What a checkpoint says beside its weights, as the texts that a safetensors file keeps.

The rule: a text stands for one value, the same one whoever wrote it: a value of JSON if it is one, or else the text
itself. What JSON cannot hold is left out and named.
"""

from __future__ import annotations

import json
import pathlib
from typing import TYPE_CHECKING, Any

from lvm_batch.lvm.checkpoints.pickle_check import printable
from lvm_batch.lvm.checkpoints.stand_ins import plain_dict
from lvm_batch.lvm.checkpoints.stored_settings import PLACES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LONGEST = 2**21  # characters to write before giving up; a digest of training vectors has 160 thousand


def as_texts(parts: Mapping[Any, object]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return a checkpoint's parts as texts, and the names of those that no text can hold: tensors, objects.

    Paths become texts, tuples lists. Of settings, each entry counts by itself.
    """
    texts: dict[str, str] = {}
    left_out: list[str] = []
    writer = _Writer()
    for name, value in parts.items():
        kept = value
        if name in PLACES and isinstance(value, dict):
            kept, without = _plain_entries(value, writer)
            left_out.extend(f"{name}.{printable(key)}" for key in without)
        text = writer.text(kept)
        if text is None or not (isinstance(name, str) and name.isprintable()):
            left_out.append(printable(name))
        else:
            texts[name] = text
    return texts, tuple(left_out)


def from_texts(texts: Mapping[str, str]) -> dict[str, object]:
    """Return the values that texts stand for, by the same names."""
    return {name: _value(text) for name, text in texts.items()}


def _plain_entries(settings: dict[Any, Any], writer: _Writer) -> tuple[dict[Any, Any], list[Any]]:
    """Return the settings that a text can hold, and the names of the others."""
    plain = {
        key: value for key, value in plain_dict(settings).items() if writer.text({key: value}) is not None
    }
    return plain, [key for key in dict.keys(settings) if key not in plain]


class _Writer:
    """Writes values as texts, until they are too many characters: a pickle may hold one text a million times."""

    def __init__(self) -> None:
        self._room = _LONGEST

    def text(self, value: object) -> str | None:
        """Return the text of a value; None if there is none, or no room for it."""
        try:
            written = "".join(self._chunks(value))
        except (TypeError, ValueError, RecursionError):
            return None
        is_itself = isinstance(value, str) and value.isprintable() and _value(value) == value
        return str(value) if is_itself else written

    def _chunks(self, value: object) -> Iterator[str]:
        for chunk in json.JSONEncoder(default=_path_as_text).iterencode(value):
            self._room -= len(chunk)
            if self._room < 0:
                raise ValueError("more than a checkpoint keeps")
            yield chunk


def _path_as_text(value: object) -> str:
    if isinstance(value, pathlib.PurePath):
        return str(value)
    raise TypeError(type(value))


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
