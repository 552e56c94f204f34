"""guarded_client, guard_client, GuardTransport: no request leaves that the guard has not read.

The guard sits in the transport, the last place before the wire: redirects, retries, authentication
flows, proxies and mounts all pass through it, and the bytes that were scored are the bytes that
are sent. A refusal is an HTTP response, so that the SDKs raise their own typed error, once.

One core, `_Gate`, has four faces: {httpx, httpx2} x {async, sync}. httpx2 is an optional extra.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import replace
from functools import cache
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, cast, overload
from urllib.parse import unquote

import httpx

from bertguard.errors import ConfigurationError, MissingExtraError
from bertguard.guard import Guard
from bertguard.segments import Role
from bertguard.verdict import Action, Verdict
from bertguard.wire.refusal import refuse, too_large
from bertguard.wire.request import dialect_of

if TYPE_CHECKING:
    import httpx2

__all__ = [
    "DEFAULT_MAX_BODY_BYTES",
    "DEFAULT_TRUSTED_ROLES",
    "GuardTransport",
    "SyncGuardTransport",
    "guard_client",
    "guard_transport",
    "guarded_client",
]

_logger = logging.getLogger("bertguard.client")

# 32 MiB is the largest request that Anthropic's messages endpoint takes, images included; the
# application composed the body itself, so the cap guards against accidents, not against a crowd.
DEFAULT_MAX_BODY_BYTES = 32 * 1024 * 1024

# In a client the application wrote the instructions and the LLM wrote the earlier turns. What came
# from elsewhere, user turns and tool results, is what gets scored.
DEFAULT_TRUSTED_ROLES = frozenset({Role.SYSTEM, Role.DEVELOPER, Role.ASSISTANT})

_NOTHING_TO_READ = Verdict(Action.ALLOW, 0.0, 1.0, dialect="empty", notes=("nothing_to_read",))

Library = Literal["httpx", "httpx2"]
RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")
ClientT = TypeVar(
    "ClientT", "httpx.AsyncClient", "httpx.Client", "httpx2.AsyncClient", "httpx2.Client"
)


class _Gate:
    """What the four faces share: the question to the guard, and the answer to the caller.

    Requests and responses are those of `library`; httpx and httpx2 spell them alike.
    """

    def __init__(
        self,
        guard: Guard,
        library: ModuleType,
        trusted_roles: Collection[Role | str] | None,
        max_body_bytes: int,
    ) -> None:
        if not hasattr(guard, "check_body"):
            raise ConfigurationError(f"guard is a {type(guard).__name__}; use a Guard")
        if max_body_bytes <= 0:
            raise ConfigurationError(
                f"max_body_bytes={max_body_bytes} refuses every body; use a number of bytes above 0"
            )
        roles = DEFAULT_TRUSTED_ROLES if trusted_roles is None else trusted_roles
        try:
            self.trusted_roles = frozenset(Role(role) for role in roles)
        except ValueError as error:
            known = ", ".join(role.value for role in Role)
            raise ConfigurationError(f"trusted_roles: {error}; the roles are {known}") from None
        self.guard = guard
        self.library = library
        self.max_body_bytes = max_body_bytes

    def known(self, request: Any, body: bytes | None) -> Verdict | None:
        """The verdict that needs no scoring; `body` is None where it is over the cap."""
        if body is None:
            return self.failed(request, "too_large")
        upgrade = "upgrade" in request.headers or request.url.scheme in ("ws", "wss")
        if upgrade or request.method.upper() == "CONNECT":
            # What follows the handshake goes over the socket, past every transport.
            verdict = self.failed(request, "protocol_upgrade")
            return replace(verdict, action=self.guard.policy.unscanned_action)
        return None if body or _target(request)[1] else _NOTHING_TO_READ

    def about(self, request: Any) -> dict[str, Any]:
        """What the guard is told beside the body."""
        path, query = _target(request)
        return {
            "path": path,
            "headers": request.headers.multi_items(),
            "query": query,
            "trusted_roles": self.trusted_roles,
        }

    def broken(self, request: Any, error: Exception) -> Verdict:
        """The guard itself failed: closed, and logged without the message, which may quote text."""
        place = traceback.extract_tb(error.__traceback__)[-1]
        _logger.error(
            "the guard failed with %s at %s:%s; the request counts as unscanned",
            type(error).__name__,
            place.filename,
            place.lineno,
        )
        return self.failed(request, "internal_error")

    def failed(self, request: Any, reason: str) -> Verdict:
        """Blocked as unscanned, whatever `on_unscanned` says; only shadow mode lets it pass."""
        return Verdict(
            Action.BLOCK,
            score=0.0,
            threshold=1.0,
            unscanned=(reason,),
            dialect=dialect_of(_target(request)[0]),
            enforced=self.guard.policy.mode == "enforce",
        )

    def refusal(self, request: Any, verdict: Verdict) -> Any:
        """The answer to a blocked request: a response as the provider would send it."""
        if "too_large" in verdict.unscanned:
            answer = too_large(self.max_body_bytes, verdict.dialect)
        else:
            answer = refuse(verdict)
        return self.library.Response(
            answer.status,
            headers=list(answer.headers),
            content=answer.body,
            request=request,
            extensions={"guard": verdict},
        )

    def resend(self, request: Any, body: bytes) -> None:
        """Make the bytes that were read what the request sends, as often as it is sent."""
        request.stream = self.library.ByteStream(body)

    def resend_unread(self, request: Any, content: Iterator[bytes] | AsyncIterator[bytes]) -> None:
        """Put back what is over the cap; only shadow mode goes on to send it."""
        # A throw-away request turns an iterator into a stream of the right class.
        request.stream = self.library.Request("POST", request.url, content=content).stream


class _AsyncFace(Generic[RequestT, ResponseT]):
    """An asynchronous transport: `_library` and the base class are all that the twins add."""

    _library: ModuleType

    def __init__(
        self,
        guard: Guard,
        transport: Any = None,
        *,
        trusted_roles: Collection[Role | str] | None = None,
        max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
    ) -> None:
        self.gate = _Gate(guard, self._library, trusted_roles, max_body_bytes)
        self.transport = _checked(
            self._library.AsyncHTTPTransport() if transport is None else transport,
            self._library.AsyncBaseTransport,
        )

    async def handle_async_request(self, request: RequestT) -> ResponseT:
        """Judge the request, then send it or answer it."""
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
        response.extensions = {**response.extensions, "guard": verdict}
        return cast(ResponseT, response)

    async def _body(self, request: Any) -> bytes | None:
        """The bytes that will be sent, read from the stream itself; None beyond the cap."""
        read = bytearray()
        rest = aiter(request.stream)
        async for chunk in rest:
            read += chunk
            if len(read) > self.gate.max_body_bytes:
                self.gate.resend_unread(request, _async_chain(bytes(read), rest))
                return None
        self.gate.resend(request, bytes(read))
        await request.aread()  # so that request.content is what was read, too
        return bytes(read)

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


class _SyncFace(Generic[RequestT, ResponseT]):
    """A synchronous transport: the asynchronous one without its awaits."""

    _library: ModuleType

    def __init__(
        self,
        guard: Guard,
        transport: Any = None,
        *,
        trusted_roles: Collection[Role | str] | None = None,
        max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
    ) -> None:
        self.gate = _Gate(guard, self._library, trusted_roles, max_body_bytes)
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
        response.extensions = {**response.extensions, "guard": verdict}
        return cast(ResponseT, response)

    def _body(self, request: Any) -> bytes | None:
        read = bytearray()
        rest = iter(request.stream)
        for chunk in rest:
            read += chunk
            if len(read) > self.gate.max_body_bytes:
                self.gate.resend_unread(request, _chain(bytes(read), rest))
                return None
        self.gate.resend(request, bytes(read))
        request.read()
        return bytes(read)

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


class GuardTransport(_AsyncFace[httpx.Request, httpx.Response], httpx.AsyncBaseTransport):
    """An httpx transport that asks the guard before it sends.

    `httpx.AsyncClient(transport=GuardTransport(guard))` guards that one transport only: httpx
    walks around it where `proxy=` or `mounts=` is given as well. `guarded_client` has no such gap.

    A blocked request is answered with the provider's own error body and status 400 (503 where the
    guard is not available, 413 where the body is over the cap), always with
    `x-should-retry: false`, and `response.extensions["guard"]` holds the `Verdict` of every
    request. Responses are passed on as they come, with no header added: it is the upstream's
    response, and the verdict stands in the extensions.

    Args:
        guard: the guard to ask.
        transport: what sends the request; None is a plain `httpx.AsyncHTTPTransport()`.
        trusted_roles: roles whose texts are not scored; None is `DEFAULT_TRUSTED_ROLES`.
            `Policy.trusted_roles` overrides it.
        max_body_bytes: a longer body is refused with 413; a streamed upload is collected up to
            here, scored and sent as the very same bytes.
    """

    _library = httpx


class SyncGuardTransport(_SyncFace[httpx.Request, httpx.Response], httpx.BaseTransport):
    """`GuardTransport` for `httpx.Client`."""

    _library = httpx


@cache
def _faces(library: str) -> tuple[ModuleType, type[Any], type[Any]]:
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
        _AsyncFace[httpx2.Request, httpx2.Response], httpx2.AsyncBaseTransport
    ):
        """`GuardTransport` for `httpx2.AsyncClient`."""

        _library = httpx2

    class Httpx2SyncGuardTransport(
        _SyncFace[httpx2.Request, httpx2.Response], httpx2.BaseTransport
    ):
        """`GuardTransport` for `httpx2.Client`."""

        _library = httpx2

    return httpx2, Httpx2GuardTransport, Httpx2SyncGuardTransport


@overload
def guard_transport(
    guard: Guard,
    transport: httpx.AsyncBaseTransport | None = None,
    *,
    library: Literal["httpx"] = "httpx",
    sync: Literal[False] = False,
    trusted_roles: Collection[Role | str] | None = None,
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
) -> httpx.AsyncBaseTransport: ...
@overload
def guard_transport(
    guard: Guard,
    transport: httpx.BaseTransport | None = None,
    *,
    library: Literal["httpx"] = "httpx",
    sync: Literal[True],
    trusted_roles: Collection[Role | str] | None = None,
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
) -> httpx.BaseTransport: ...
@overload
def guard_transport(
    guard: Guard,
    transport: httpx2.AsyncBaseTransport | None = None,
    *,
    library: Literal["httpx2"],
    sync: Literal[False] = False,
    trusted_roles: Collection[Role | str] | None = None,
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
) -> httpx2.AsyncBaseTransport: ...
@overload
def guard_transport(
    guard: Guard,
    transport: httpx2.BaseTransport | None = None,
    *,
    library: Literal["httpx2"],
    sync: Literal[True],
    trusted_roles: Collection[Role | str] | None = None,
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
) -> httpx2.BaseTransport: ...
def guard_transport(
    guard: Guard,
    transport: object = None,
    *,
    library: Library = "httpx",
    sync: bool = False,
    trusted_roles: Collection[Role | str] | None = None,
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
) -> object:
    """`GuardTransport` or one of its twins: an httpx transport fails inside an httpx2 client.

    Raises:
        MissingExtraError: httpx2 is not installed.
    """
    _, async_face, sync_face = _faces(library)
    face = sync_face if sync else async_face
    return face(guard, transport, trusted_roles=trusted_roles, max_body_bytes=max_body_bytes)


@overload
def guarded_client(
    guard: Guard,
    *,
    library: Literal["httpx"] = "httpx",
    sync: Literal[False] = False,
    trusted_roles: Collection[Role | str] | None = None,
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
    **client_options: object,
) -> httpx.AsyncClient: ...
@overload
def guarded_client(
    guard: Guard,
    *,
    library: Literal["httpx"] = "httpx",
    sync: Literal[True],
    trusted_roles: Collection[Role | str] | None = None,
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
    **client_options: object,
) -> httpx.Client: ...
@overload
def guarded_client(
    guard: Guard,
    *,
    library: Literal["httpx2"],
    sync: Literal[False] = False,
    trusted_roles: Collection[Role | str] | None = None,
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
    **client_options: object,
) -> httpx2.AsyncClient: ...
@overload
def guarded_client(
    guard: Guard,
    *,
    library: Literal["httpx2"],
    sync: Literal[True],
    trusted_roles: Collection[Role | str] | None = None,
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
    **client_options: object,
) -> httpx2.Client: ...
def guarded_client(
    guard: Guard,
    *,
    library: Library = "httpx",
    sync: bool = False,
    trusted_roles: Collection[Role | str] | None = None,
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
    **client_options: object,
) -> object:
    """A real httpx client whose every way out asks the guard first.

    It goes where an SDK takes an `http_client`: `AsyncOpenAI(http_client=guarded_client(guard,
    library="httpx2"))`. openai 3, anthropic 2 and mistralai 3 are built on httpx2; google-genai,
    ollama, cohere and the older SDKs on httpx.

    Args:
        guard: the guard to ask.
        library: `httpx` or `httpx2`.
        sync: True for a synchronous `Client`, else an `AsyncClient`.
        trusted_roles: see `GuardTransport`, like `max_body_bytes`.
        max_body_bytes: see `GuardTransport`.
        client_options: whatever the client takes: `base_url`, `headers`, `timeout`, `proxy`,
            `mounts`, `transport`, …. Proxies of the environment are guarded as well.

    Raises:
        MissingExtraError: httpx2 is not installed.
    """
    module, _, _ = _faces(library)
    make = module.Client if sync else module.AsyncClient
    client = make(**client_options)
    return guard_client(client, guard, trusted_roles=trusted_roles, max_body_bytes=max_body_bytes)


def guard_client(
    client: ClientT,
    guard: Guard,
    *,
    trusted_roles: Collection[Role | str] | None = None,
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
) -> ClientT:
    """Put the guard into an existing client, in place, and return the client.

    Every transport that the client holds is wrapped, the one of a proxy or a mount like the main
    one. A client that is guarded by the same guard already is left as it is.

    Raises:
        ConfigurationError: not a client of httpx or httpx2, or one of an unknown build.
    """
    face = _face_of(client)
    options: dict[str, Any] = {"trusted_roles": trusted_roles, "max_body_bytes": max_body_bytes}

    def wrapped(transport: Any) -> Any:
        if isinstance(transport, face) and transport.gate.guard is guard:
            return transport
        return face(guard, transport, **options)

    held: Any = client
    if not hasattr(held, "_transport") or not isinstance(getattr(held, "_mounts", None), dict):
        # Both libraries have kept these two names from the start; without them there is no
        # telling that every way out is guarded.
        raise ConfigurationError(
            f"{type(client).__module__}.{type(client).__name__} keeps its transports in a place "
            "that is unknown here; build the client with transport=GuardTransport(guard)"
        )
    mounts = {key: None if way is None else wrapped(way) for key, way in held._mounts.items()}
    held._transport, held._mounts = wrapped(held._transport), mounts
    return client


def _face_of(client: object) -> type[Any]:
    """The face that fits a client. A library that was never imported cannot have made it."""
    for library in ("httpx", "httpx2"):
        if library in sys.modules:
            module, async_face, sync_face = _faces(library)
            if isinstance(client, module.AsyncClient):
                return async_face
            if isinstance(client, module.Client):
                return sync_face
    raise ConfigurationError(
        f"client is a {type(client).__module__}.{type(client).__name__}; use a client of httpx or "
        "httpx2 (for an SDK, the one that it takes as http_client)"
    )


def _target(request: Any) -> tuple[str, str]:
    """Path and query as they will be sent: httpx lets an extension override those of the URL."""
    target: bytes = request.extensions.get("target", request.url.raw_path)
    path, _, query = target.decode("latin-1").partition("?")
    return unquote(path), query


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
