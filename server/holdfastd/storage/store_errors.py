"""What an object store answers when it does not do what it was asked, in words that give nothing away.

The library's own texts quote requests and answers, which may carry keys and signatures: they are looked into and never
passed on. Of an answer only the HTTP status and the store's error code are repeated.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum


class StoreProblem(Enum):
    """Why an object store cannot be used: what is wrong, what to do, and the errno that stands for it."""

    NOT_INSTALLED = (
        "object stores need a library that is not installed",
        "install it for the daemon, then restart it: pip install 'holdfast[server,objects]'",
        errno.ENOSYS,
    )
    NO_CREDENTIALS = (
        "the daemon has no credentials for it",
        "put them into the daemon's environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and restart it: "
        "see docs/operations.md, Off-site",
        errno.EACCES,
    )
    ACCESS_DENIED = (
        "access is denied",
        "check the daemon's credentials and what they may do: list, read, write and delete objects below that prefix",
        errno.EACCES,
    )
    WRONG_CLOCK = (
        "the clock of this machine is not that of the store",
        "set it, and have it kept right (timedatectl set-ntp true), then try again",
        errno.EACCES,
    )
    NO_BUCKET = ("there is no such bucket", "check its name, the region and the endpoint, or create it", errno.ENOENT)
    MISCONFIGURED = (
        "the store takes the request for one that is not meant for it",
        "check the region and the endpoint in the daemon's environment, such as AWS_REGION and AWS_ENDPOINT_URL",
        errno.EINVAL,
    )
    UNREACHABLE = (
        "the store does not answer",
        "check the network and the endpoint, such as AWS_ENDPOINT_URL, then try again",
        errno.ETIMEDOUT,
    )
    BUSY = ("the store is too busy, or has a fault of its own", "try again later", errno.EAGAIN)
    CHANGED = (
        "the object was replaced while it was being read",
        "let nobody write to it meanwhile, and try again",
        errno.ESTALE,
    )
    ODD_NAME = (
        "an object there has a name with an empty part, . or .., or a control character in it, and nothing can be "
        "listed beside it",
        "move that object away with the store's own tools, or keep snapshots below a prefix of their own",
        errno.EINVAL,
    )
    UNSUPPORTED = ("the store cannot do what is needed", "use another store", errno.EOPNOTSUPP)
    OTHER = ("the store refused the request", "look the code up in the store's own documentation", errno.EIO)

    def __init__(self, text: str, hint: str, code: int) -> None:
        self.text = text
        self.hint = hint
        self.code = code


class StoreError(OSError):
    """An object store did not do what it was asked. ``filename`` is the URL."""

    def __init__(self, problem: StoreProblem, url: str, said: str = "") -> None:
        super().__init__(problem.code, problem.text + (f" ({said})" if said else ""), url)
        self.problem = problem
        self.hint = problem.hint

    @property
    def is_passing(self) -> bool:
        """Whether the same may succeed in a moment."""
        return self.problem in (StoreProblem.UNREACHABLE, StoreProblem.BUSY)


_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Z][A-Za-z]{1,60})</Code>|\(code: ([A-Z][A-Za-z]{1,60})\)")
"""As the store says it; and as the library does, of one object among several that were to be deleted."""
_METADATA_SERVICES = ("169.254.169.254", "169.254.170.2", "metadata.google.internal")
_PROBLEM_OF_CODE = {
    "NoSuchBucket": StoreProblem.NO_BUCKET,
    "ContainerNotFound": StoreProblem.NO_BUCKET,
    "PermanentRedirect": StoreProblem.MISCONFIGURED,
    "AuthorizationHeaderMalformed": StoreProblem.MISCONFIGURED,
    "IllegalLocationConstraintException": StoreProblem.MISCONFIGURED,
    "InvalidBucketName": StoreProblem.MISCONFIGURED,
    "AccessDenied": StoreProblem.ACCESS_DENIED,
    "ExpiredToken": StoreProblem.ACCESS_DENIED,
    "InvalidToken": StoreProblem.ACCESS_DENIED,
    "RequestTimeTooSkewed": StoreProblem.WRONG_CLOCK,
    "RequestExpired": StoreProblem.WRONG_CLOCK,
    "SlowDown": StoreProblem.BUSY,
    "InternalError": StoreProblem.BUSY,
    "ServiceUnavailable": StoreProblem.BUSY,
    "NotImplemented": StoreProblem.UNSUPPORTED,
}
_PROBLEM_OF_STATUS = {
    301: StoreProblem.MISCONFIGURED,
    307: StoreProblem.MISCONFIGURED,
    401: StoreProblem.ACCESS_DENIED,
    403: StoreProblem.ACCESS_DENIED,
    408: StoreProblem.BUSY,
    429: StoreProblem.BUSY,
    501: StoreProblem.UNSUPPORTED,
}
_NO_KEY_FILE = ("Unable to open service account file", "Unable to decode service account file", "Invalid Access Key")
_MISSING_SETTINGS = (
    "must be specified",
    "Missing",
    "redirect without LOCATION",
    "builder error",
    "Got invalid",
)
_PANIC = "PanicException"
"""What the library raises where it meets what it has not thought of: no Exception, which would end a thread unheard."""


@contextmanager
def store_errors(url: str) -> Iterator[None]:
    """Turn what the library raises into FileNotFoundError, FileExistsError or StoreError, which name the URL."""
    try:
        yield
    except StoreError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != _PANIC:
            raise
        raise translated(error, url) from None


def translated(error: BaseException, url: str) -> OSError:
    """The error that stands for one of the library's."""
    kind, text = type(error).__name__, str(error)
    status, code = _STATUS.search(text), _CODE.search(text)
    number = int(status[1]) if status else 0
    word = (code[1] or code[2]) if code else ""
    known = _PROBLEM_OF_CODE.get(word)
    failed = "the library for it failed" if kind == _PANIC else ""
    said = ", ".join(filter(None, (f"HTTP {number}" if number else "", word, failed)))
    if known is None and isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, "there is no such object", url)
    if kind == "AlreadyExistsError":
        return FileExistsError(errno.EEXIST, "there is an object of that name", url)
    return StoreError(known or _problem(kind, text, number, word), url, said)


def _problem(kind: str, text: str, status: int, word: str) -> StoreProblem:
    if any(service in text for service in _METADATA_SERVICES):
        return StoreProblem.NO_CREDENTIALS
    if kind == _PANIC:
        return StoreProblem.OTHER
    if not status and any(sign in text for sign in _MISSING_SETTINGS):
        return StoreProblem.MISCONFIGURED
    if kind == "InvalidPathError":
        return StoreProblem.ODD_NAME
    if any(sign in text for sign in _NO_KEY_FILE):
        return StoreProblem.NO_CREDENTIALS
    if kind == "PreconditionError":
        return StoreProblem.CHANGED
    if kind in ("NotSupportedError", "NotImplementedError"):
        return StoreProblem.UNSUPPORTED
    if status:
        return _PROBLEM_OF_STATUS.get(status, StoreProblem.BUSY if status >= 500 else StoreProblem.OTHER)
    return StoreProblem.OTHER if word else StoreProblem.UNREACHABLE
