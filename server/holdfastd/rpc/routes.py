"""From the name of a method to its handler: parsing, admission and errors, the same for every service.

Requests are parsed in the worker that handles them, not on gRPC's one polling thread, so that a large batch holds up
nobody; and what cannot be parsed is answered with the field that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from ..errors import InvalidArgument, ResourceExhausted
from . import wire
from .admission import InFlight, Slots, WorkerPool
from .batches import parse_ticketed, parse_upsert
from .errors import abort, as_holdfast_error, let_go_of_frames

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Behavior: TypeAlias = Callable[[Any, grpc.ServicerContext], Any]
Parse: TypeAlias = Callable[[bytes], Any]
Serialize: TypeAlias = Callable[[Message], bytes]


WRITES = frozenset(f"holdfast.v1.VectorService.{name}" for name in ("Upsert", "Update", "Delete"))
"""Short calls that wait for the log and for little else: they must end."""


_PARSERS: Mapping[str, Parse] = {
    "holdfast.v1.VectorService.Upsert": parse_upsert,
    "holdfast.v1.VectorService.UpsertStream": parse_ticketed,
}
"""Methods whose requests are not parsed by protobuf alone."""


@dataclass(frozen=True, slots=True)
class Unparsed:
    """A message of a stream that could not be parsed, in its place in the stream."""

    raw: bytes
    error: InvalidArgument


class Routes(grpc.GenericRpcHandler):
    """All methods of a server. ``service`` runs on gRPC's polling thread and blocks nobody."""

    def __init__(self, pool: WorkerPool, max_reply_bytes: int, writes: InFlight) -> None:
        self._pool = pool
        self._max_reply_bytes = max_reply_bytes
        self._writes = writes
        self._handlers: dict[str, tuple[Handler, Slots]] = {}

    def add(self, service: ServiceDescriptor, servicer: object, *, unary: Slots, streams: Slots) -> None:
        """Serve every method of a service with the servicer's method of that name."""
        for method in service.methods:
            slots = streams if method.client_streaming or method.server_streaming else unary
            behavior = getattr(servicer, method.name)
            if method.full_name in WRITES:
                behavior = _noted(behavior, self._writes)
            handler = _handler(method, behavior, self._max_reply_bytes)
            self._handlers[f"/{service.full_name}/{method.name}"] = handler, slots

    @property
    def names(self) -> list[str]:
        """The methods that are served, as `/package.Service/Method`."""
        return list(self._handlers)

    def add_handler(self, name: str, handler: Handler, slots: Slots) -> None:
        """Serve one method with a ready handler."""
        self._handlers[name] = handler, slots

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        found = self._handlers.get(handler_call_details.method)
        if found is None:
            return None
        handler, slots = found
        if not slots.take():
            return _refusal(slots)
        self._pool.claim(slots)
        return handler


def _refusal(slots: Slots) -> Handler:
    """Answers before anything of the request has arrived, so that it holds its worker for no longer than that."""

    def refuse(_requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        abort(context, slots.refusal())

    return grpc.stream_stream_rpc_method_handler(refuse)


def _noted(behavior: Behavior, writes: InFlight) -> Behavior:
    def handle(request: Any, context: grpc.ServicerContext) -> Any:
        token = writes.begin()
        try:
            return behavior(request, context)
        finally:
            writes.end(token)

    return handle


def _handler(method: MethodDescriptor, behavior: Behavior, max_reply_bytes: int) -> Handler:
    parse = _parser(method)
    serialize = _serializer(max_reply_bytes)
    if method.client_streaming:
        streaming = _streaming(method, behavior, lambda raws: _each(raws, parse), serialize)
        return grpc.stream_stream_rpc_method_handler(streaming)
    if method.server_streaming:
        return grpc.unary_stream_rpc_method_handler(_streaming(method, behavior, parse, serialize))
    return grpc.unary_unary_rpc_method_handler(_unary(method, behavior, parse, serialize))


def _parser(method: MethodDescriptor) -> Parse:
    parse = _PARSERS.get(method.full_name) or GetMessageClass(method.input_type).FromString
    descriptor = method.input_type

    def checked(raw: bytes) -> Any:
        try:
            return parse(raw)
        except DecodeError:
            raise wire.explain(descriptor, raw) from None

    return checked


def _serializer(max_reply_bytes: int) -> Serialize:
    def checked(message: Message) -> bytes:
        raw = message.SerializeToString()
        if len(raw) > max_reply_bytes:
            raise ResourceExhausted(
                f"the reply would have {len(raw)} bytes, the limit is {max_reply_bytes}",
                reason="REPLY_TOO_LARGE",
                hint="ask for fewer points at a time, or leave out vectors or payloads",
                limit=max_reply_bytes,
            )
        return raw

    return checked


def _each(raws: Iterator[bytes], parse: Parse) -> Iterator[Any]:
    for raw in raws:
        try:
            yield parse(raw)
        except InvalidArgument as error:
            yield Unparsed(raw, error)


def _unary(method: MethodDescriptor, behavior: Behavior, parse: Parse, serialize: Serialize) -> Behavior:
    name = method.full_name

    def handle(raw: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            return serialize(behavior(parse(raw), context))
        except Exception as error:
            failure = as_holdfast_error(error, name)
        abort(context, failure)

    return handle


def _streaming(
    method: MethodDescriptor, behavior: Behavior, parse: Callable[[Any], Any], serialize: Serialize
) -> Behavior:
    """A stream's generator, closed when the stream ends, so that what it holds is let go at once."""
    name = method.full_name

    def handle(raw: Any, context: grpc.ServicerContext) -> Iterator[bytes]:
        try:
            for message in behavior(parse(raw), context):
                yield serialize(message)
            return
        except Exception as error:
            if not context.is_active():
                let_go_of_frames(error)
                return
            failure = as_holdfast_error(error, name)
        abort(context, failure)

    return handle
