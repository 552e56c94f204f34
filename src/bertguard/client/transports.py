"""The four faces of the guard in a client: {httpx, httpx2} x {async, sync} over one `Gate`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator
from functools import cache
from types import ModuleType, TracebackType
from typing import Any, Generic, Self, TypeVar, cast

import httpx

from bertguard.client.gate import DEFAULT_MAX_BODY_BYTES, DEFAULT_TRUSTED_ROLES, Gate
from bertguard.errors import ConfigurationError, MissingExtraError
from bertguard.guard import Guard, require_asyncio
from bertguard.segments import Role

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")


class AsyncFace(Generic[RequestT, ResponseT]):
    """An asynchronous transport: `_library` and the base class are all that the twins add."""

    _library: ModuleType

    def __init__(
        self,
        guard: Guard,
        transport: Any = None,
        *,
        trusted_roles: Collection[Role | str] = DEFAULT_TRUSTED_ROLES,
        max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
    ) -> None:
        self.gate = Gate(guard, self._library, trusted_roles, max_body_bytes, sync=False)
        self.transport = _checked(
            self._library.AsyncHTTPTransport() if transport is None else transport,
            self._library.AsyncBaseTransport,
        )

    async def handle_async_request(self, request: RequestT) -> ResponseT:
        """Judge the request, then send it or answer it."""
        require_asyncio()
        gate = self.gate
        body = await self._body(request)
        verdict = gate.known(request, body)
        if verdict is None:
            try:
                verdict = await gate.guard.check_body(body or b"", **gate.about(request))
            except Exception as error:  # noqa: BLE001 - fail closed, whatever it was
                verdict = gate.broken(request, error)
        if verdict.blocked:
            return cast(ResponseT, gate.refusal(request, verdict))
        response = await self.transport.handle_async_request(request)
        return cast(ResponseT, gate.passed(response, verdict))

    async def _body(self, request: Any) -> bytes | None:
        """The bytes that will be sent, read from the stream itself; None beyond the cap."""
        stream = request.stream
        if type(stream) is self._library.ByteStream:  # a subclass may send what it likes
            body = b"".join([chunk async for chunk in stream])  # no copy: the bytes that it holds
            if len(body) > self.gate.max_body_bytes:
                return None
        else:
            read = bytearray()
            rest = aiter(stream)
            async for chunk in rest:
                read += chunk
                if len(read) > self.gate.max_body_bytes:
                    self.gate.resend_unread(request, stream, _async_chain(bytes(read), rest))
                    return None
            body = bytes(read)
            del read  # one object is scored, sent and held, of bodies of many megabytes too
        self.gate.resend(request, body)
        await request.aread()  # so that request.content is what was read, too
        return body

    async def aclose(self) -> None:
        """Close the transport behind the guard."""
        await self.transport.aclose()

    async def __aenter__(self) -> Self:
        await self.transport.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.transport.__aexit__(exc_type, exc_value, traceback)


class SyncFace(Generic[RequestT, ResponseT]):
    """A synchronous transport: the asynchronous one without its awaits."""

    _library: ModuleType

    def __init__(
        self,
        guard: Guard,
        transport: Any = None,
        *,
        trusted_roles: Collection[Role | str] = DEFAULT_TRUSTED_ROLES,
        max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
    ) -> None:
        self.gate = Gate(guard, self._library, trusted_roles, max_body_bytes, sync=True)
        self.transport = _checked(
            self._library.HTTPTransport() if transport is None else transport,
            self._library.BaseTransport,
        )

    def handle_request(self, request: RequestT) -> ResponseT:
        """Judge the request, then send it or answer it."""
        gate = self.gate
        body = self._body(request)
        verdict = gate.known(request, body)
        if verdict is None:
            try:
                verdict = gate.guard.check_body_sync(body or b"", **gate.about(request))
            except Exception as error:  # noqa: BLE001 - fail closed, whatever it was
                verdict = gate.broken(request, error)
        if verdict.blocked:
            return cast(ResponseT, gate.refusal(request, verdict))
        response = self.transport.handle_request(request)
        return cast(ResponseT, gate.passed(response, verdict))

    def _body(self, request: Any) -> bytes | None:
        stream = request.stream
        if type(stream) is self._library.ByteStream:
            body = b"".join(stream)
            if len(body) > self.gate.max_body_bytes:
                return None
        else:
            read = bytearray()
            rest = iter(stream)
            for chunk in rest:
                read += chunk
                if len(read) > self.gate.max_body_bytes:
                    self.gate.resend_unread(request, stream, _chain(bytes(read), rest))
                    return None
            body = bytes(read)
            del read
        self.gate.resend(request, body)
        request.read()
        return body

    def close(self) -> None:
        """Close the transport behind the guard."""
        self.transport.close()

    def __enter__(self) -> Self:
        self.transport.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.transport.__exit__(exc_type, exc_value, traceback)


class GuardTransport(AsyncFace[httpx.Request, httpx.Response], httpx.AsyncBaseTransport):
    """An httpx transport that asks the guard before it sends.

    `httpx.AsyncClient(transport=GuardTransport(guard))` guards that one transport only: httpx
    walks around it where `proxy=` or `mounts=` is given as well. `guarded_client` has no such gap.

    A blocked request is answered with the provider's own error body and status 400 (503 where the
    guard is not available, 413 where the body is over the cap), always with
    `x-should-retry: false`, and `response.extensions["guard"]` holds the `Verdict` of every
    request. Responses are passed on as they come, with no header added: it is the upstream's
    response, and the verdict stands in the extensions. Only its `x-guard-*` headers are taken
    away: on a refusal they are this guard's, so they must never be somebody else's.

    The guard takes at most the shorter of its own `timeout_seconds` (30 by default) and the
    request's read timeout; the latter begins anew for the upstream. httpx's default of 5 s for
    everything is taken as unset and bounds the upstream alone. What has no score by then is
    unscanned (503, unless the policy's `on_unscanned` says otherwise). Asynchronous clients run
    under asyncio alone: under trio a request raises `ConfigurationError`.

    Args:
        guard: the guard to ask.
        transport: what sends the request; None is a plain `httpx.AsyncHTTPTransport()`.
        trusted_roles: roles whose texts are not scored; see `DEFAULT_TRUSTED_ROLES`.
            `Policy.trusted_roles` overrides it.
        max_body_bytes: a longer body is refused with 413; a streamed upload is collected up to
            here, scored and sent as the very same bytes.
    """

    _library = httpx


class SyncGuardTransport(SyncFace[httpx.Request, httpx.Response], httpx.BaseTransport):
    """`GuardTransport` for `httpx.Client`."""

    _library = httpx


@cache
def faces(library: str) -> tuple[ModuleType, type[Any], type[Any]]:
    """The library, its asynchronous face and its synchronous one."""
    if library == "httpx":
        return httpx, GuardTransport, SyncGuardTransport
    if library != "httpx2":
        raise ConfigurationError(f'library={library!r} is unknown; use "httpx" or "httpx2"')
    try:
        import httpx2
    except ImportError:
        raise MissingExtraError('library="httpx2"', "httpx2") from None

    class Httpx2GuardTransport(
        AsyncFace[httpx2.Request, httpx2.Response], httpx2.AsyncBaseTransport
    ):
        """`GuardTransport` for `httpx2.AsyncClient`."""

        _library = httpx2

    class Httpx2SyncGuardTransport(SyncFace[httpx2.Request, httpx2.Response], httpx2.BaseTransport):
        """`GuardTransport` for `httpx2.Client`."""

        _library = httpx2

    return httpx2, Httpx2GuardTransport, Httpx2SyncGuardTransport


def _checked(transport: Any, base: type[Any]) -> Any:
    if not isinstance(transport, base):
        raise ConfigurationError(
            f"transport is a {type(transport).__module__}.{type(transport).__name__}; use a "
            f"{base.__module__.partition('.')[0]}.{base.__name__}, or guard_transport(..., "
            "library=, sync=) for the twin that fits"
        )
    return transport


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


async def _async_chain(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk
