"""Places that are named by an URL: object stores (``s3://``, ``gs://``, ``az://``), and this machine (``file://``).

An URL is kept as it is recorded: ``scheme://bucket/key``, without a slash at its end. Nothing else is part of it, so
that no registry, manifest, log or message can hold a credential that somebody wrote into one.
"""

from __future__ import annotations

import re
from typing import NamedTuple, NoReturn
from urllib.parse import unquote

from ..errors import InvalidArgument

OBJECT_SCHEMES = ("s3", "gs", "az")
MAX_URL_BYTES = 1024

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_ONE_SLASH = re.compile(r"(s3|gs|az|file):/", re.IGNORECASE)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}")
_SEGMENT = re.compile(r"[A-Za-z0-9!$&'()+,./:;=@_ -]+")
_KINDS = "s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or file:///directory"


class ObjectUrl(NamedTuple):
    """The parts of an object's URL; ``key`` is "" for the bucket itself."""

    scheme: str
    bucket: str
    key: str


def is_object_url(path: str) -> bool:
    """Whether a path as it is recorded lies in an object store."""
    return path.startswith(("s3://", "gs://", "az://"))


def is_kept_url(path: str) -> bool:
    """Whether it is an object's URL just as ``place_of`` makes them."""
    try:
        return is_object_url(path) and place_of(path) == path
    except InvalidArgument:
        return False


def split_url(url: str) -> ObjectUrl:
    """The parts of an URL that ``place_of`` has made."""
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    return ObjectUrl(scheme, bucket, key)


def place_of(path: str, *, field: str = "path") -> str:
    """A path or an URL as it is kept: of a ``file://`` URL the path, any other path as it is.

    Raises InvalidArgument, which never repeats the URL: it may hold a password.
    """
    match = _URL.fullmatch(path)
    if match is None:
        if _ONE_SLASH.match(path):
            _refuse("an URL has two slashes behind its scheme", field)
        return path
    scheme, rest = match[1].lower(), match[2]
    if scheme == "file":
        return _local(rest, field)
    if scheme not in OBJECT_SCHEMES:
        _refuse(f"an URL of the scheme {scheme[:16]}:// is no place for snapshots", field)
    if any(sign in rest for sign in "@?#"):
        _refuse("the URL has a user, a query or a fragment; credentials are not given in it", field)
    bucket, _, key = rest.rstrip("/").partition("/")
    if not _BUCKET.fullmatch(bucket):
        _refuse("the URL names no bucket", field)
    segments = key.split("/") if key else []
    if any(not _SEGMENT.fullmatch(each) or each in (".", "..") for each in segments):
        _refuse("the URL has an empty part, . or .., or a character that not every store takes", field)
    if len(path) > MAX_URL_BYTES:
        _refuse(f"the URL is longer than {MAX_URL_BYTES} bytes", field)
    return f"{scheme}://{bucket}/{key}" if key else f"{scheme}://{bucket}"


def repeatable(value: object) -> str:
    """A value as a message about it may repeat it: not where it has an URL's user, query or fragment."""
    text = str(value)
    holds_more = "://" in text and any(sign in text for sign in "@?#")
    return "an URL that may hold a password" if holds_more else repr(value)


def _local(rest: str, field: str) -> str:
    host, slash, path = rest.partition("/")
    if host.lower() not in ("", "localhost") or not slash:
        _refuse("a file:// URL names another machine, or no absolute path", field)
    try:
        found = unquote(f"/{path}", errors="strict")
    except UnicodeDecodeError:
        found = "\0"
    if "\0" in found:
        _refuse("a file:// URL has a % that stands for no character of a path", field)
    return found


def _refuse(problem: str, field: str) -> NoReturn:
    raise InvalidArgument(
        f"{field}: {problem}",
        field=field,
        reason="INVALID_URL",
        hint=f"name {_KINDS}; credentials come from the daemon's environment: see docs/operations.md, Off-site",
    )
