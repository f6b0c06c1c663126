"""A stand-in for the S3 gateway of the Hugging Face Hub's storage buckets: moto's S3, with the differences that the hub
documents (https://huggingface.co/docs/hub/storage-buckets-s3, read on 2026-11-30).

The namespace stands in the path of the endpoint; downloads are redirected to another host; conditions hold for
``PutObject`` alone; parts cannot be copied; only version 2 of listing, and only ``/`` as its delimiter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

from support.s3_server import KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

NAMESPACE = "acme"

_PROXIED = ("aws-cli", "botocore", "aws-sdk-rust")
_CONDITIONS = ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH")


def gateway(store: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Return ``store``, a WSGI application that answers as S3, as the gateway answers in front of it."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path, host = environ["RAW_URI"].partition("?")[0], environ["HTTP_HOST"]
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        is_edge = path.startswith("/cdn/")
        prefix = "/cdn/" if is_edge else f"/{NAMESPACE}/"
        if not path.startswith(prefix):
            return _refusal("404 NoSuchBucket", environ, start_response)
        bucket, _, key = unquote(path.removeprefix(prefix)).partition("/")
        if is_edge and "HTTP_AUTHORIZATION" in environ:
            return _refusal("400 CredentialsForAnotherHost", environ, start_response)
        if refusal := _refused(environ, key, query):
            return _refusal(refusal, environ, start_response)
        method = environ["REQUEST_METHOD"]
        is_proxied = any(name in environ.get("HTTP_USER_AGENT", "") for name in _PROXIED)
        if method == "GET" and key and not is_edge and not is_proxied:
            edge = f"http://{host.replace('127.0.0.1', 'localhost')}/cdn/{path.removeprefix(prefix)}"
            start_response("302 Found", [("Location", edge), ("Content-Length", "0")])
            return [b""]
        if method != "PUT" or query or "HTTP_X_AMZ_COPY_SOURCE" in environ:
            for name in _CONDITIONS:
                environ.pop(name, None)
        rest = path.removeprefix(prefix.rstrip("/"))
        environ["RAW_URI"] = environ["REQUEST_URI"] = "?".join(
            part for part in (rest, environ.get("QUERY_STRING")) if part
        )
        environ["PATH_INFO"] = f"/{bucket}/{key}".encode().decode("latin-1")
        if is_edge:  # the address is the permission
            environ["HTTP_AUTHORIZATION"] = (
                f"AWS4-HMAC-SHA256 Credential={KEY}/20260101/us-east-1/s3/aws4_request"
            )
        return store(environ, start_response)

    return answer


def _refused(environ: dict[str, Any], key: str, query: dict[str, list[str]]) -> str | None:
    """Return the status with which the gateway refuses a request, if it does."""
    is_listing = environ["REQUEST_METHOD"] == "GET" and not key and "location" not in query
    if is_listing and query.get("list-type") != ["2"]:
        return "501 NotImplemented"
    if query.get("delimiter", ["/"]) != ["/"]:
        return "400 InvalidArgument"
    if "HTTP_X_AMZ_COPY_SOURCE" in environ and "partNumber" in query:
        return "501 NotImplemented"
    if "aws-chunked" in environ.get("HTTP_CONTENT_ENCODING", "") or "HTTP_X_AMZ_TRAILER" in environ:
        return "400 InvalidRequest"
    is_bad_key = key.endswith(("/", "..")) or key.startswith(("/", "./")) or "\\" in key or "\0" in key
    return "400 InvalidKey" if is_bad_key or "//" in key or "../" in key else None


def _refusal(status: str, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    code = status.partition(" ")[2]
    body = f"<Error><Code>{code}</Code><Message>the gateway refuses this</Message></Error>".encode()
    start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]
