"""What stderr is made of, as the command line or a variable chooses it.

The rule: it is known before the command line is parsed, so that an error of it is reported in the right form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LogFormat = Literal["text", "json"]

LOG_FORMAT = "--log-format"
LOG_FORMAT_VARIABLE = "LVM_BATCH_LOG_FORMAT"


def log_format(options: Sequence[str], environ: Mapping[str, str]) -> LogFormat:
    """Return the chosen format; the parser of the command line reports an unknown one."""
    chosen = environ.get(LOG_FORMAT_VARIABLE)
    for option, following in zip(options, [*options[1:], ""], strict=True):
        if option == LOG_FORMAT:
            chosen = following
        elif option.startswith(f"{LOG_FORMAT}="):
            chosen = option.partition("=")[2]
    return "json" if chosen == "json" else "text"
