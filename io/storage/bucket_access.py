"""Open buckets by their address, with the credentials that the environment has for them.

    s3://    AWS's chain: AWS_* variables, profiles and SSO in ~/.aws, web identity, the container's or machine's role
    gs://    GOOGLE_APPLICATION_CREDENTIALS, what gcloud has stored, the machine's service account
    az://    AZURE_* variables: account and key, SAS, client secret, workload or managed identity
    hf://    HF_TOKEN, for datasets that are private or gated

The rule: each process finds credentials for itself; they are never passed on and never part of an address. AWS_REGION
and AWS_ENDPOINT_URL count as in AWS's own tools.
"""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from lvm_batch.io.errors import DataError, MissingExtra
from lvm_batch.io.storage.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.session import Session
    from obstore.store import ObjectStore

    from lvm_batch.io.storage.bucket import Bucket

EXTRAS = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "az": "azure",
    "azure": "azure",
    "abfs": "azure",
    "abfss": "azure",
    "hf": "hf",
}
"""The extra that each URL scheme needs."""

AWS_KEYS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
"""The options of Rust's ``object_store`` that are secret and expire."""

RETRY_S = 60.0
"""How long a request is retried after 5xx answers, cut connections and timeouts."""

HASTY_S = 4.0
"""Timeout of a request of a hasty bucket, which does not retry."""

_MAX_RETRIES = 10
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 8.0
_CONNECT_S, _REQUEST_S = 5.0, 60.0
_CREDENTIALS_LAST = timedelta(minutes=10)  # botocore renews those that end within 15 minutes

_S3_COPIES = {"copy_if_not_exists": "multipart"}  # the last request of a copy in parts takes a condition

_CONTAINER = re.compile(r"[^:@]+@[^:@]+")  # container@account.dfs.core.windows.net
_QUERY = re.compile(r"[?&#][\w.-]+=")

_HINTS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or AWS_SKIP_SIGNATURE for public data",
    "gcs": "set GOOGLE_APPLICATION_CREDENTIALS, or call `gcloud auth application-default login`",
    "hf": "check HF_ENDPOINT",
    "azure": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or what else Azure's tools take",
}


def check_address(text: str) -> None:
    """Raise :class:`DataError`, which does not show them, if a URL holds credentials or a query."""
    scheme, _, rest = text.partition("://")
    host, _, _ = rest.partition("/")
    has_user = "@" in host or ":" in host
    if (has_user and not (scheme.startswith("abfs") and _CONTAINER.fullmatch(host))) or _QUERY.search(rest):
        raise DataError(
            f"an address with {scheme}:// holds credentials or a query, and addresses are written to records and logs",
            "give the bucket and the key alone; credentials come from the environment: AWS_*, GOOGLE_*, AZURE_*, HF_*",
        )


@lru_cache(maxsize=32)
def open_bucket(scheme: str, name: str) -> Bucket:
    """Open the bucket ``name`` without making a request.

    Raises :class:`MissingExtra` without the client, :class:`DataError` without credentials or for an address that no
    store has.
    """
    extra = EXTRAS[scheme]
    try:
        from obstore import exceptions  # noqa: PLC0415 - part of an extra
        from obstore.store import from_url  # noqa: PLC0415

        from lvm_batch.io.hub.store import HubStore  # noqa: PLC0415
        from lvm_batch.io.storage.bucket import Bucket  # noqa: PLC0415

        options = aws_access() | _S3_COPIES if extra == "s3" else {}
    except ImportError as error:
        raise MissingExtra(
            f"{scheme}://{name} needs {error.name}, which is not installed",
            f'pip install "lvm-batch[{extra}]"',
        ) from error

    def opened(max_retries: int, request_s: float) -> ObjectStore:
        patience = _patience(max_retries, request_s, endpoint=str(options.get("endpoint", "")))
        if extra == "hf":
            return cast("ObjectStore", HubStore(patience))  # what is read of a store, and no more
        return from_url(f"{scheme}://{name}", **patience, **options)

    try:
        store = opened(_MAX_RETRIES, _REQUEST_S)
    except (exceptions.BaseError, ValueError) as error:
        reason = redact(str(error).partition("\n")[0])
        raise DataError(f"{scheme}://{name} cannot be opened: {reason}", _HINTS[extra]) from None
    return Bucket(store, open_hasty=lambda: opened(0, HASTY_S))


def _patience(max_retries: int, request_s: float, *, endpoint: str) -> dict[str, Any]:
    pauses = {
        "init_backoff": timedelta(seconds=_FIRST_PAUSE_S),
        "max_backoff": timedelta(seconds=_LONGEST_PAUSE_S),
        "base": 2,
    }
    return {
        "retry_config": {
            "max_retries": max_retries,
            "retry_timeout": timedelta(seconds=RETRY_S),
            "backoff": pauses,
        },
        "client_options": {
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=min(_CONNECT_S, request_s)),
            "timeout": timedelta(seconds=request_s),
        },
    }


def aws_access() -> dict[str, Any]:
    """Return the credentials, region and endpoint that AWS's own tools would use."""
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - part of an extra
    from botocore.session import Session  # noqa: PLC0415

    session = Session()
    try:
        config = session.get_scoped_config()
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        endpoint = endpoint or config.get("endpoint_url")
        region = os.environ.get("AWS_REGION") or session.get_config_variable("region") or "us-east-1"
        found = {"region": region} | ({"endpoint": endpoint} if endpoint else {})
        if os.environ.get("AWS_SKIP_SIGNATURE", "").lower() in {"1", "true"}:
            return found
        return found | {"credential_provider": _credentials(session)}
    except BotoCoreError as error:
        raise DataError(f"AWS's configuration cannot be used: {redact(str(error))}", _HINTS["s3"]) from error


def _credentials(session: Session) -> Callable[[], dict[str, Any]]:
    credentials = session.get_credentials()
    if credentials is None:
        raise DataError("there are no credentials for s3://", _HINTS["s3"])

    def current() -> dict[str, Any]:
        frozen = credentials.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _CREDENTIALS_LAST,
        }

    return current


def plain_aws_options(found: dict[str, Any]) -> dict[str, str]:
    """Return what :func:`aws_access` found as options of Rust's ``object_store``, with the keys as they are now."""
    endpoint = str(found.get("endpoint", ""))
    options = {"aws_region": found["region"]} | ({"aws_endpoint_url": endpoint} if endpoint else {})
    options |= {"aws_allow_http": "true"} if endpoint.startswith("http://") else {}
    credentials = found.get("credential_provider")
    if credentials is None:
        return options | {"aws_skip_signature": "true"}
    now = credentials()
    keys = {f"aws_{name}": now[name] for name in ("access_key_id", "secret_access_key")}
    return options | keys | ({"aws_session_token": now["token"]} if now["token"] else {})
