"""Every error of the daemon has one status, and its details say what a program needs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from holdfast import errors as client_errors
from holdfast.status import error_of_status
from holdfastd import errors
from holdfastd.rpc.errors import CODE_OF, DOMAIN, as_holdfast_error, code_of, status_of


def subclasses(cls: type[errors.HoldfastError]) -> Iterator[type[errors.HoldfastError]]:
    yield cls
    for each in cls.__subclasses__():
        if each.__module__ == errors.__name__:
            yield from subclasses(each)


ALL = list(dict.fromkeys(subclasses(errors.HoldfastError)))


def made(cls: type[errors.HoldfastError]) -> errors.HoldfastError:
    more: dict[str, Any] = {"path": "/data/wal/x", "offset": 17} if cls is errors.Corruption else {}
    return cls("it went wrong", hint="mend it", **more)


def detail(status: status_pb2.Status, message: Any) -> Any:
    return message if any(packed.Unpack(message) for packed in status.details) else None


def test_the_tree_is_walked() -> None:
    assert {errors.InvalidArgument, errors.UnsupportedFormat, errors.Corruption} <= set(ALL)


@pytest.mark.parametrize("cls", ALL)
def test_every_error_is_in_the_table(cls: type[errors.HoldfastError]) -> None:
    assert cls in CODE_OF


@pytest.mark.parametrize("cls", ALL)
def test_every_error_says_reason_domain_and_hint(cls: type[errors.HoldfastError]) -> None:
    error = made(cls)
    status = status_of(error)
    info = detail(status, error_details_pb2.ErrorInfo())
    assert (info.reason, info.domain, info.metadata["hint"]) == (error.reason, DOMAIN, "mend it")
    assert status.code == code_of(error).value[0]
    assert status.message == error.message


@pytest.mark.parametrize("cls", ALL)
def test_the_client_reads_what_the_daemon_says(cls: type[errors.HoldfastError]) -> None:
    error = made(cls)
    seen = error_of_status(status_of(error), code_of(error).name)
    assert (seen.message, seen.reason, seen.hint) == (error.message, error.reason, "mend it")
    assert seen.status == code_of(error).name
    assert isinstance(seen, client_errors.HoldfastError)


@pytest.mark.parametrize(
    ("cls", "code"),
    [
        (errors.CommitUnknown, grpc.StatusCode.UNKNOWN),
        (errors.EngineFailed, grpc.StatusCode.FAILED_PRECONDITION),
        (errors.Corruption, grpc.StatusCode.DATA_LOSS),
        (errors.Unimplemented, grpc.StatusCode.UNIMPLEMENTED),
    ],
)
def test_codes_that_were_decided(cls: type[errors.HoldfastError], code: grpc.StatusCode) -> None:
    assert code_of(made(cls)) is code


def test_a_subclass_from_elsewhere_has_the_code_of_its_ancestor() -> None:
    class Replaced(errors.NotFound):
        pass

    assert code_of(Replaced("gone")) is grpc.StatusCode.NOT_FOUND


def test_a_bad_field_is_named() -> None:
    status = status_of(errors.InvalidArgument("too long", field="ids[17]"))
    assert detail(status, error_details_pb2.BadRequest()).field_violations[0].field == "ids[17]"


def test_a_missing_thing_is_named() -> None:
    status = status_of(errors.NotFound("none", reason="COLLECTION_NOT_FOUND", collection="books"))
    info = detail(status, error_details_pb2.ResourceInfo())
    assert (info.resource_type, info.resource_name) == ("collection", "books")


def test_what_may_be_repeated_says_when() -> None:
    delay = detail(status_of(errors.Unavailable("stopping")), error_details_pb2.RetryInfo()).retry_delay
    assert (delay.seconds, delay.nanos) == (0, 500_000_000)
    assert detail(status_of(errors.NotFound("none")), error_details_pb2.RetryInfo()) is None


def test_long_and_broken_texts_still_fit_the_trailers() -> None:
    error = errors.InvalidArgument(
        "é" * 50_000, field="f" * 50_000, hint="\ud800" * 9_000, **{f"k{n}": "v" * 900 for n in range(90)}
    )
    assert len(status_of(error).SerializeToString()) < 12_000


def test_the_unforeseen_is_logged_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        error = as_holdfast_error(ZeroDivisionError("secret detail"), "holdfast.v1.VectorService.Upsert")
    assert code_of(error) is grpc.StatusCode.INTERNAL
    assert "secret detail" not in str(status_of(error))
    assert "secret detail" in caplog.text
    assert "VectorService.Upsert" in caplog.text


def test_an_error_that_comes_from_itself_is_answered() -> None:
    first, second = errors.NotFound("none"), ValueError("other")
    first.__cause__, second.__cause__ = second, first
    assert as_holdfast_error(first, "holdfast.v1.VectorService.Get") is first
    alone = errors.NotFound("none")
    alone.__cause__ = alone
    assert as_holdfast_error(alone, "holdfast.v1.VectorService.Get") is alone
