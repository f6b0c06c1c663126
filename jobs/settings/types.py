"""Types of settings that only a run has, an address to serve at and a URL to ping; and the type of their classes.

The rule: a value is checked and completed here, without looking at the machine or the network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, SecretStr

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)

THIS_MACHINE = "127.0.0.1"
_HIGHEST_PORT = 65535


def _with_host(text: str) -> str:
    """Without a host, only this machine can reach the page."""
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit()) or int(port) > _HIGHEST_PORT or host.strip() != host:
        raise ValueError("not an address with a port")
    return f"{host or THIS_MACHINE}:{port}"


def _pingable(url: SecretStr) -> SecretStr:
    text = url.get_secret_value()
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc or parts.port == 0:
        raise ValueError("not a URL that can be pinged")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("not an address")
    return url


Address = Annotated[str, AfterValidator(_with_host)]
"""``host:port``; port 0 is any that is free."""

PingURL = Annotated[SecretStr, AfterValidator(_pingable)]
"""Address of a health check: http or https, without a user name, which urllib could not send."""


class SettingsType(ModelMetaclass):
    """The type of every class of settings.

    It hides ``abc``'s method ``register``, which pydantic would take for the default of a setting of that name.
    """

    @property
    def register(cls) -> Any:  # noqa: ANN401, N805 - what a class of settings declares
        """The setting that a class declares."""
        if "register" not in cls.__dict__:
            raise AttributeError("register")
        return cls.__dict__["register"]
