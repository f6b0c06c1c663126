"""Certificates for ``tls://``, which Dask's own settings name.

The rule: what is missing or cannot be used is named by its setting and its variable before anything is contacted.
"""

from __future__ import annotations

import ssl

from distributed.security import Security

from lvm_batch.jobs.errors import Problem, SettingsError

_SETTINGS = {
    "tls_ca_file": "distributed.comm.tls.ca-file",
    "tls_client_cert": "distributed.comm.tls.client.cert",
    "tls_client_key": "distributed.comm.tls.client.key",
}
"""What a client needs, by the attribute of Dask's ``Security``."""


def client_security() -> Security:
    """Return what Dask's settings say of TLS; raises :class:`SettingsError` if a client could not connect with it."""
    try:
        security = Security()
    except ValueError as error:  # a version of TLS that there is not
        raise SettingsError(Problem(str(error), "fix distributed.comm.tls in Dask's settings")) from error
    missing = [setting for field, setting in _SETTINGS.items() if not getattr(security, field)]
    if missing:
        raise SettingsError(
            *(Problem(f"tls:// needs {setting}, which is not set", _how(setting)) for setting in missing)
        )
    try:
        security.get_connection_args("client")
    except (OSError, ValueError) as error:  # ssl.SSLError is the former
        raise SettingsError(_unusable(security, error)) from error
    return security


def variable_of(setting: str) -> str:
    """Return the environment variable of one of Dask's settings."""
    return "DASK_" + setting.upper().replace(".", "__").replace("-", "_")


def _how(setting: str) -> str:
    return f"set it to a PEM file in Dask's settings or in {variable_of(setting)}"


def _unusable(security: Security, error: Exception) -> Problem:
    """Return which file cannot be used, as Python's errors do not say."""
    for field, setting in _SETTINGS.items():
        path = getattr(security, field)
        try:
            if "\n" not in path:
                with open(path, "rb"):  # noqa: PTH123 - a text of Dask's settings
                    pass
            if field == "tls_ca_file":
                _as_authority(path)
        except (OSError, ValueError) as found:
            why = "it contains no certificate" if isinstance(found, ssl.SSLError) else str(found)
            return Problem(f"{setting} cannot be used: {path}: {why}", _how(setting))
    pair = ("tls_client_cert", "tls_client_key")
    named, paths = (
        " and ".join(map(_SETTINGS.__getitem__, pair)),
        [getattr(security, field) for field in pair],
    )
    return Problem(
        f"{named} cannot be used: {', '.join(paths)}: {error}",
        "set both to the PEM files of a certificate and its key",
    )


def _as_authority(path: str) -> None:
    is_text = "\n" in path
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=None if is_text else path, cadata=path if is_text else None)
