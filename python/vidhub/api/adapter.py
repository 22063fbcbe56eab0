"""One servicer class per service, served on both edges.

A servicer's methods are Connect-shaped: `async def get_camera(request, call)`, and for a stream that goes out an async
generator. Here they become grpcio handlers and Connect endpoints, both built from the public descriptors, with the
same steps in the same order: admit, read, validate, one servicer method, answer or status.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, aclosing, nullcontext
from contextvars import ContextVar
from typing import Any

import grpc
from connectrpc.errors import ConnectError
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.request import RequestContext
from connectrpc.server import Endpoint
from google.protobuf.message import Message

from vidhub.api import Method, validate
from vidhub.api.auth import Doorkeeper, forwarded_address, host_of
from vidhub.api.call import Call
from vidhub.api.live import LiveCalls
from vidhub.api.status import Status, to_status
from vidhub.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidArgument,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    VidhubError,
)
from vidhub.telemetry import RequestMetrics
from vidhub.turns import Turns

# A stream on 8080 may outlive the token it was opened with, but not the login: this often it is looked at again,
# and after this long the stream must be opened anew, with a token of that time.
RECHECK_S = 20.0
STREAM_LIFE_S = 1800.0

_current: ContextVar[Call] = ContextVar("call")


Function = Callable[..., Any]


def function_of(method: Method, servicer: object) -> Function:
    """The servicer's method. Raises Unimplemented by name: what is missing is not served yet."""
    found: Function | None = getattr(servicer, method.attribute, None)
    if found is None:
        raise Unimplemented("METHOD_UNIMPLEMENTED", f"{method.path} is not served by this version of vidhub")
    return found


class GrpcAdapter:
    """Servicers as grpcio handlers. Messages come as bytes: nothing is parsed before the caller is admitted."""

    def __init__(self, doorkeeper: Doorkeeper, live: LiveCalls, metrics: RequestMetrics) -> None:
        self._doorkeeper = doorkeeper
        self._live = live
        self._metrics = metrics

    def handler(self, service: str, methods: Mapping[str, Method], servicer: object) -> grpc.GenericRpcHandler:
        handlers = {name: self._handler(method, servicer) for name, method in methods.items()}
        return grpc.method_handlers_generic_handler(service, handlers)

    def _handler(self, method: Method, servicer: object) -> grpc.RpcMethodHandler:
        async def unary_unary(data: bytes, context: Any) -> bytes | None:
            async def work(call: Call) -> bytes:
                function = function_of(method, servicer)
                return _bytes(await function(_read(method, data), call))

            return await self._answer(method, context, work)

        async def stream_unary(data: AsyncIterator[bytes], context: Any) -> bytes | None:
            async def work(call: Call) -> bytes:
                function = function_of(method, servicer)
                return _bytes(await function(_read_all(method, data), call))

            return await self._answer(method, context, work)

        async def unary_stream(data: bytes, context: Any) -> None:
            async def work(call: Call) -> None:
                function = function_of(method, servicer)
                await _write_all(function(_read(method, data), call), context)

            await self._answer(method, context, work)

        async def stream_stream(data: AsyncIterator[bytes], context: Any) -> None:
            async def work(call: Call) -> None:
                function = function_of(method, servicer)
                await _write_all(function(_read_all(method, data), call), context)

            await self._answer(method, context, work)

        match method.takes_stream, method.gives_stream:
            case False, False:
                return grpc.unary_unary_rpc_method_handler(unary_unary)
            case True, False:
                return grpc.stream_unary_rpc_method_handler(stream_unary)
            case False, True:
                return grpc.unary_stream_rpc_method_handler(unary_stream)
            case _:
                return grpc.stream_stream_rpc_method_handler(stream_stream)

    async def _answer(
        self, method: Method, context: Any, work: Callable[[Call], Awaitable[bytes | None]]
    ) -> bytes | None:
        started = time.perf_counter()
        code = grpc.StatusCode.OK.name
        call: Call | None = None
        try:
            call = self._admit(method, context)
            with self._live.entered(call.principal):
                return await work(call)
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED.name
            raise
        except Exception as error:
            status = _status(error, method, call, self._doorkeeper)
            code = status.code.name
            await context.abort(status.code, status.message, status.as_trailers())
        finally:
            self._metrics.observe(method.path, code, time.perf_counter() - started)
        return None

    def _admit(self, method: Method, context: Any) -> Call:
        pem = context.auth_context().get("x509_pem_cert", [])
        if not pem:
            raise Unauthenticated("CERTIFICATE_MISSING", "connect with the certificate that enrolment gave")
        metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        address = host_of(context.peer().partition(":")[2].replace("%5B", "[").replace("%5D", "]"))
        return self._doorkeeper.admit_peer(method, metadata, address, pem[0], context.time_remaining())


def _read(method: Method, data: bytes) -> Message | bytes:
    if len(data) > method.access.most_bytes:
        raise InvalidArgument("MESSAGE_TOO_LARGE", f"messages here hold at most {method.access.most_bytes} octets")
    if method.access.is_raw:
        return data
    request = validate.parsed(method.request, data)
    if not method.access.unchecked:
        validate.check(request)
    return request


async def _read_all(method: Method, data: AsyncIterator[bytes]) -> AsyncIterator[Message | bytes]:
    async for item in data:
        yield _read(method, item)


async def _write_all(answers: AsyncGenerator[Message], context: Any) -> None:
    async with aclosing(answers):
        async for answer in answers:
            await context.write(_bytes(answer))


def _bytes(message: Message) -> bytes:
    data: bytes = message.SerializeToString()
    return data


def _status(error: BaseException, method: Method, call: Call | None, doorkeeper: Doorkeeper) -> Status:
    if call is not None and isinstance(error, VidhubError):
        doorkeeper.record(call, error)
    return to_status(error, method=method.path, trace_id=call.trace_id if call else "")


class ConnectAdapter:
    """Servicers as Connect endpoints. As an interceptor it admits the caller before the message is read."""

    def __init__(
        self,
        doorkeeper: Doorkeeper,
        live: LiveCalls,
        metrics: RequestMetrics,
        methods: Mapping[str, Method],
        turns: Turns,
    ) -> None:
        self._doorkeeper = doorkeeper
        self._live = live
        self._metrics = metrics
        self._methods = methods
        self._turns = turns

    async def on_start(self, ctx: RequestContext[Any, Any]) -> tuple[Call, float]:
        started = time.perf_counter()
        method = self._methods[f"{ctx.method.service_name}/{ctx.method.name}"]
        metadata = _metadata(ctx)
        address = forwarded_address(metadata) or host_of(ctx.client_address or "")
        time_left_s = None if ctx.timeout_ms is None else ctx.timeout_ms / 1000
        try:
            call = await self._doorkeeper.admit_person(method, metadata, address, time_left_s)
        except Exception as error:
            status = to_status(error, method=method.path)
            self._metrics.observe(method.path, status.code.name, time.perf_counter() - started)
            raise status.as_connect() from error
        _current.set(call)
        return call, started

    async def on_end(self, token: tuple[Call, float], ctx: RequestContext[Any, Any], error: Exception | None) -> None:
        call, started = token
        for name, value in call.answer_headers:
            ctx.response_headers.add(name, value)
        call.answer_headers.clear()
        shown = _named(error)
        if shown is None:
            code = grpc.StatusCode.OK.name
        elif isinstance(shown, ConnectError):
            code = shown.code.name.replace("CANCELED", "CANCELLED")
        else:
            status = to_status(shown, method=call.method.path, trace_id=call.trace_id)
            code, shown = status.code.name, status.as_connect()
        self._metrics.observe(call.method.path, code, time.perf_counter() - started)
        if shown is not None and shown is not error:
            raise shown from error

    def endpoint(self, method: Method, servicer: object) -> Any:
        """An `Endpoint` of the method's kind."""

        async def answer(request: Any, _ctx: RequestContext[Any, Any]) -> Message:
            call = _current.get()
            try:
                with self._live.entered(call.principal), self._turn(method):
                    function = function_of(method, servicer)
                    response: Message = await function(_checked(method, request), call)
                    return response
            except Exception as error:
                raise self._refused(error, call) from error

        async def stream(request: Any, _ctx: RequestContext[Any, Any]) -> AsyncGenerator[Message]:
            call = _current.get()
            watch = asyncio.create_task(self._watch(call, asyncio.current_task()))
            try:
                with self._live.entered(call.principal):
                    function = function_of(method, servicer)
                    async with aclosing(function(_checked(method, request), call)) as answers:
                        async for item in answers:
                            yield item
            except Exception as error:
                raise self._refused(error, call) from error
            finally:
                watch.cancel()

        match method.takes_stream, method.gives_stream:
            case False, False:
                return Endpoint.unary(method=_info(method, StreamType.UNARY), function=answer)
            case True, False:
                return Endpoint.client_stream(method=_info(method, StreamType.CLIENT_STREAM), function=answer)
            case False, True:
                return Endpoint.server_stream(method=_info(method, StreamType.SERVER_STREAM), function=stream)
            case _:
                return Endpoint.bidi_stream(method=_info(method, StreamType.BIDI_STREAM), function=stream)

    def _turn(self, method: Method) -> AbstractContextManager[None]:
        return nullcontext() if method.access.is_bulk else self._turns.interactive()

    def _refused(self, error: Exception, call: Call) -> ConnectError:
        if isinstance(error, ConnectError):
            return error
        return _status(error, call.method, call, self._doorkeeper).as_connect()

    async def _watch(self, call: Call, task: asyncio.Task[object] | None) -> None:
        """Ends the stream when its caller would not be admitted any more: logged out, suspended, of another role."""
        end = time.monotonic() + STREAM_LIFE_S
        while task is not None and not call.method.access.is_open:
            await asyncio.sleep(RECHECK_S)
            try:
                await self._doorkeeper.still_good(call)
                if time.monotonic() > end:
                    raise Unavailable("STREAM_EXPIRED", "open the stream again, from where it ended")
            except VidhubError as error:
                self._live.cut_task(task, error)
                return


def _checked(method: Method, request: Any) -> Any:
    if method.takes_stream:
        return _check_all(request)
    validate.check(request)
    return request


async def _check_all(requests: AsyncIterator[Message]) -> AsyncIterator[Message]:
    async for request in requests:
        validate.check(request)
        yield request


def _info(method: Method, kind: StreamType) -> MethodInfo[Any, Any]:
    return MethodInfo(
        name=method.name,
        service_name=method.service,
        input=method.request,
        output=method.response,
        idempotency_level=IdempotencyLevel.UNKNOWN,
        stream_type=kind,
    )


def _metadata(ctx: RequestContext[Any, Any]) -> dict[str, str]:
    metadata: dict[str, str] = {}
    for key, value in ctx.request_headers.allitems():
        joint = "; " if key == "cookie" else ","
        metadata[key] = f"{metadata[key]}{joint}{value}" if key in metadata else value
    return metadata


def _named(error: Exception | None) -> Exception | None:
    """What the Connect library refused by itself gets a reason, like everything else."""
    if not isinstance(error, ConnectError) or error.details:
        return error
    message = error.message[:200]
    match error.code.name:
        case "INVALID_ARGUMENT":
            return InvalidArgument("MESSAGE_INVALID", message)
        case "RESOURCE_EXHAUSTED":
            return ResourceExhausted("LIMIT_MESSAGE_BYTES", message)
        case "UNIMPLEMENTED":
            return Unimplemented("NOT_SUPPORTED", message)
        case "DEADLINE_EXCEEDED":
            return DeadlineExceeded("DEADLINE_EXCEEDED", message)
        case "CANCELED":
            return Cancelled("CALLER_LEFT", message)
        case _:
            return error
