"""GuardMiddleware: the application gets no request that the guard has not read. Pure ASGI.

The walk of one request: copy the scope without `x-guard-*` headers, read the body up to the cap,
judge body and query string, then either answer with the dialect's own refusal or call the
application with the very bytes that were scored. Responses are passed on as they come.
"""

from __future__ import annotations

import asyncio
import logging
import re
import traceback
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bertguard.errors import ConfigurationError
from bertguard.guard import Guard
from bertguard.segments import Role
from bertguard.verdict import Action, Verdict
from bertguard.wire.refusal import Refusal, refuse, too_large
from bertguard.wire.request import dialect_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["DEFAULT_MAX_BODY_BYTES", "GuardMiddleware"]

_logger = logging.getLogger("bertguard.middleware")

# 4 MiB of JSON is about a million tokens of text: the longest context that LLMs are sold with,
# and about what the guard's default `max_windows` covers. Larger bodies carry media. Every open
# request may hold this much memory, so the number is also a bound on what a crowd can cost.
DEFAULT_MAX_BODY_BYTES = 4 * 1024 * 1024

# A client that leaves is noticed only while somebody waits for its messages. Scorings that end
# sooner than this are cheaper to finish than to watch.
_WATCH_AFTER_SECONDS = 0.25

# WebSocket close codes, RFC 6455 section 7.4.1.
_POLICY_VIOLATION, _TOO_BIG, _INTERNAL_ERROR = 1008, 1009, 1011

# What `scope["state"]["guard"]` holds where there was nothing to judge. The threshold is out of
# the way of anyone who compares it with the score.
_NOTHING_TO_READ = Verdict(Action.ALLOW, 0.0, 1.0, dialect="empty", notes=("nothing_to_read",))
_EXEMPT = Verdict(Action.ALLOW, 0.0, 1.0, unscanned=("exempt",), dialect="exempt")


class GuardMiddleware:
    """Puts a guard in front of any ASGI application, for HTTP and WebSocket.

    Every request is read, whatever its method, path or content type; only one without a body and
    without a query string needs no judgement. `scope["state"]["guard"]`, which is
    `request.state.guard` in Starlette and FastAPI, holds the `Verdict`. A blocked request is
    answered in the error format of its dialect and never reaches the application. A flagged one
    passes and its response carries `x-guard-action: flag` and `x-guard-score`; one that was not
    scanned whole carries `x-guard-status: unscanned`. In shadow mode everything passes, also what
    is over the cap, and `x-guard-mode: shadow` stands beside what would have been done.

    Text frames of a WebSocket are judged one by one (block: close 1008), binary frames follow the
    policy's `on_unscanned`; `websocket.state.guard` holds the latest verdict.

    Args:
        app: the application behind the guard.
        guard: a `Guard`, or a function without arguments that returns one. The function is called
            once, in a worker thread, when the application has completed its lifespan start-up (or
            at the first request where no lifespan is run), so that it may load a checkpoint or
            return what the application's own lifespan has loaded. If it fails at start-up, the
            start-up fails. Whoever made the guard closes it.
        max_body_bytes: a longer body, or WebSocket message, is refused unread (413, close 1009).
        exempt: paths that are not read, exact (`/healthz`) or with everything below (`/static/*`).
            They are compared with the path as the application's router sees it (without
            `root_path`), and a path in any but its plain spelling is never exempt.
        trusted_roles: roles whose texts are not scored. None trusts nobody: the caller wrote every
            turn. `Policy.trusted_roles` overrides it.
        websocket: False exempts every WebSocket connection.
        report_headers: False keeps verdicts out of response headers, where a stranger could use
            the score to find his way around.

    Raises:
        ConfigurationError: an option that cannot work.
    """

    def __init__(
        self,
        app: ASGIApp,
        guard: Guard | Callable[[], Guard],
        *,
        max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
        exempt: Sequence[str] = (),
        trusted_roles: Collection[Role | str] | None = None,
        websocket: bool = True,
        report_headers: bool = True,
    ) -> None:
        if max_body_bytes <= 0:
            raise ConfigurationError(
                f"max_body_bytes={max_body_bytes} refuses every body; use a number of bytes above 0"
            )
        if not callable(guard) and not hasattr(guard, "check_body"):
            raise ConfigurationError(
                f"guard is a {type(guard).__name__}; use a Guard or a function that returns one"
            )
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.trusted_roles = _roles(trusted_roles or ())
        self.websocket = websocket
        self.report_headers = report_headers
        self._exempt = _Exemptions(exempt)
        self._factory: Callable[[], Guard] | None = guard if callable(guard) else None
        self._guard: Guard | None = None if callable(guard) else guard
        self._loading = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await _Socket(self, scope, receive, send).run()
        elif scope["type"] == "lifespan" and self._factory is not None:
            await self.app(scope, receive, self._loading_at_start_up(send))
        else:
            await self.app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._exempt.match(scope):
            await self.app(_scope_with(scope, _EXEMPT), receive, send)
            return
        try:
            body, complete = await _read_body(receive, self.max_body_bytes)
        except _ClientLeftError:
            return
        replay = _Replay(body, receive, complete=complete)
        try:
            if not complete:
                verdict: Verdict | None = self.failed(scope, "too_large")
            elif body or scope.get("query_string"):
                headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in scope["headers"]]
                verdict = await _while_connected(self.judge(scope, body, headers), replay)
            else:
                verdict = _NOTHING_TO_READ
            if verdict is None:
                return
            if verdict.blocked:
                refusal = refuse(verdict) if complete else self._too_large(scope)
                await _send_refusal(send, refusal, head=scope["method"] == "HEAD")
                return
            if self.report_headers:
                send = _reporting(send, verdict)
            await self.app(_scope_with(scope, verdict), replay, send)
        finally:
            await replay.aclose()

    async def judge(
        self, scope: Scope, body: bytes | None, headers: Sequence[tuple[str, str]] = ()
    ) -> Verdict:
        """The guard's verdict on one body; whatever goes wrong in it is a verdict as well.

        None stands for a body that is no text; the policy's `on_unscanned` decides about it.
        """
        try:
            guard = await self._ready()
            if body is None:
                action = guard.policy.unscanned_action
                return replace(self.failed(scope, "binary_frame"), action=action)
            return await guard.check_body(
                body,
                path=_route_path(scope),
                headers=headers,
                query=scope.get("query_string", b"").decode("latin-1"),
                trusted_roles=self.trusted_roles,
            )
        except Exception as error:  # noqa: BLE001 - fail closed, whatever it was
            # Type and place alone: the message of a foreign error may quote the text.
            place = traceback.extract_tb(error.__traceback__)[-1]
            _logger.error(
                "the guard failed with %s at %s:%s; the request counts as unscanned",
                type(error).__name__,
                place.filename,
                place.lineno,
            )
            return self.failed(scope, "internal_error")

    def failed(self, scope: Scope, reason: str) -> Verdict:
        """Blocked as unscanned, whatever `on_unscanned` says; only shadow mode lets it pass."""
        return Verdict(
            Action.BLOCK,
            score=0.0,
            threshold=1.0,
            unscanned=(reason,),
            dialect=dialect_of(_route_path(scope)),
            enforced=self._guard is None or self._guard.policy.mode == "enforce",
        )

    def _too_large(self, scope: Scope) -> Refusal:
        return too_large(self.max_body_bytes, dialect_of(_route_path(scope)))

    async def _ready(self) -> Guard:
        """The guard, loaded first where it was given as a function."""
        if self._guard is not None:
            return self._guard
        async with self._loading:
            if self._guard is None:
                if self._factory is None:
                    raise ConfigurationError("there is neither a guard nor a way to get one")
                self._guard = await asyncio.to_thread(self._factory)
            return self._guard

    def _loading_at_start_up(self, send: Send) -> Send:
        async def after_start_up(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                # An exception goes up into the application's lifespan, which reports that the
                # start-up failed: better than a service that refuses everything.
                await self._ready()
            await send(message)

        return after_start_up


# -- HTTP ----------------------------------------------------------------------------------------


class _ClientLeftError(Exception):
    """The client went away before its body was complete."""


async def _read_body(receive: Receive, max_bytes: int) -> tuple[bytes, bool]:
    """The body in one piece, and whether that is all of it; bytes are counted, not claimed."""
    body = bytearray()
    more = True
    while more and len(body) <= max_bytes:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientLeftError
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body), not more and len(body) <= max_bytes


class _Replay:
    """The application's `receive`: the body in one message, then whatever the server says."""

    def __init__(self, body: bytes, receive: Receive, *, complete: bool) -> None:
        self._body: bytes | None = body
        self._receive = receive
        self._complete = complete
        self._ahead: asyncio.Task[Message] | None = None

    async def __call__(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": not self._complete}
        if self._ahead is not None:
            return await asyncio.shield(self._ahead)
        message = await self._receive()
        if self._complete and message["type"] == "http.request":
            # Servers may repeat the end of a body. Bytes there would be bytes that nobody scored.
            return {"type": "http.request", "body": b"", "more_body": False}
        return message

    def client_left(self) -> asyncio.Task[Message]:
        """Read ahead to the message that says so; the application will get it as well."""
        self._ahead = asyncio.ensure_future(self._next_but_request())
        return self._ahead

    async def _next_but_request(self) -> Message:
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            await asyncio.sleep(0)  # a server that answers at once must not stop the loop

    async def aclose(self) -> None:
        if self._ahead is not None:
            await _cancelled(self._ahead)


async def _while_connected(
    judging: Coroutine[object, object, Verdict], replay: _Replay
) -> Verdict | None:
    """The verdict, or None where the client left while a long text was being scored."""
    task = asyncio.ensure_future(judging)
    try:
        await asyncio.wait({task}, timeout=_WATCH_AFTER_SECONDS)
        if not task.done():
            left = replay.client_left()
            await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        await _cancelled(task)


async def _cancelled(task: asyncio.Task[Message] | asyncio.Task[Verdict]) -> None:
    if not task.done():
        task.cancel()
        await asyncio.wait({task})


async def _send_refusal(send: Send, refusal: Refusal, *, head: bool) -> None:
    headers = [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in refusal.headers]
    if not any(name == b"content-length" for name, _ in headers):
        headers.append((b"content-length", str(len(refusal.body)).encode("ascii")))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else refusal.body})


def _reporting(send: Send, verdict: Verdict) -> Send:
    """`send` with the verdict's headers on the response; the very same where it has none."""
    report: list[tuple[bytes, bytes]] = []
    if verdict.action is not Action.ALLOW:
        report.append((b"x-guard-action", verdict.action.value.encode("ascii")))
        report.append((b"x-guard-score", f"{verdict.score:.4f}".encode("ascii")))
    if verdict.unscanned:
        report.append((b"x-guard-status", b"unscanned"))
    if not report:
        return send
    if not verdict.enforced:
        report.append((b"x-guard-mode", b"shadow"))

    async def send_with_report(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *report]}
        await send(message)

    return send_with_report


# -- WebSocket -----------------------------------------------------------------------------------


class _ConnectionClosedError(OSError):
    """The guard closed the connection. ASGI wants an OSError from a `send` after the end."""


class _Socket:
    """One WebSocket connection: its handshake and every message are judged on their way in."""

    def __init__(
        self, middleware: GuardMiddleware, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._middleware = middleware
        self._scope = scope
        self._receive = receive
        self._send = send
        self._state: dict[str, object] = {}
        self._connect: Message | None = None
        self._next: asyncio.Task[Message] | None = None
        self._closed_with: int | None = None

    async def run(self) -> None:
        if not self._middleware.websocket or self._middleware._exempt.match(self._scope):
            scope = _scope_with(self._scope, _EXEMPT)
            await self._middleware.app(scope, self._receive, self._send)
            return
        self._connect = await self._receive()
        if self._connect["type"] != "websocket.connect":
            return
        verdict = _NOTHING_TO_READ
        if self._scope.get("query_string"):
            verdict = await self._middleware.judge(self._scope, b"")
        if verdict.blocked:
            await self._close(verdict)
            return
        scope = _scope_with(self._scope, verdict)
        self._state = scope["state"]
        try:
            await self._middleware.app(scope, self.receive, self.send)
        finally:
            if self._next is not None:
                await _cancelled(self._next)

    async def receive(self) -> Message:
        if self._connect is not None:
            message, self._connect = self._connect, None
            return message
        # A task of its own: an application may give up waiting (a heartbeat's timeout), and the
        # message that is being scored then must not be lost.
        if self._next is None:
            self._next = asyncio.ensure_future(self._next_judged())
        message = await asyncio.shield(self._next)
        self._next = None
        return message

    async def _next_judged(self) -> Message:
        if self._closed_with is not None:
            return {"type": "websocket.disconnect", "code": self._closed_with}
        message = await self._receive()
        if message["type"] != "websocket.receive":
            return message
        verdict = await self._judge(message)
        self._state["guard"] = verdict
        if verdict.blocked:
            await self._close(verdict)
            return {"type": "websocket.disconnect", "code": self._closed_with}
        return message

    async def _judge(self, message: Message) -> Verdict:
        text, data = message.get("text"), message.get("bytes")
        size = len(data or b"") + len((text or "").encode("utf-8", "surrogatepass"))
        if size > self._middleware.max_body_bytes:
            return self._middleware.failed(self._scope, "too_large")
        if data is not None:
            return await self._middleware.judge(self._scope, None)
        if not text:
            return _NOTHING_TO_READ
        # The query string was judged with the handshake.
        return await self._middleware.judge(
            {**self._scope, "query_string": b""},
            text.encode("utf-8", "surrogatepass"),
            (("content-type", "text/plain; charset=utf-8"),),
        )

    async def _close(self, verdict: Verdict) -> None:
        code, reason = _POLICY_VIOLATION, "refused by the prompt guard"
        if "too_large" in verdict.unscanned:
            code, reason = _TOO_BIG, "the message is too large for the prompt guard"
        elif "internal_error" in verdict.unscanned:
            code, reason = _INTERNAL_ERROR, "the prompt guard is not available"
        self._closed_with = code
        await self._send({"type": "websocket.close", "code": code, "reason": reason})

    async def send(self, message: Message) -> None:
        if self._closed_with is None:
            await self._send(message)
        elif message["type"] != "websocket.close":
            raise _ConnectionClosedError("the prompt guard has closed this connection")


# -- scope and paths -----------------------------------------------------------------------------


def _scope_with(scope: Scope, verdict: Verdict) -> Scope:
    """A copy of the scope with the verdict in its state and without inbound `x-guard-*`."""
    headers = [
        (name, value)
        for name, value in scope["headers"]
        # Gateways read "_" and "-" as the same character.
        if not name.lower().replace(b"_", b"-").startswith(b"x-guard-")
    ]
    return {**scope, "headers": headers, "state": {**scope.get("state", {}), "guard": verdict}}


def _route_path(scope: Scope) -> str:
    """The path as the application's router sees it: without `root_path`.

    Source: starlette._utils.get_route_path, which is private.
    """
    path: str = scope["path"]
    root_path: str = scope.get("root_path", "")
    if root_path and path == root_path:
        return ""
    if root_path and path.startswith(root_path) and path[len(root_path)] == "/":
        return path[len(root_path) :]
    return path


# What another router, proxy or file system might read differently: empty and dot segments, and
# characters that separate, escape or end a path.
_NOT_PLAIN = re.compile(r"//|/\.{1,2}(?:/|$)|[\\%;?#\x00-\x1f\x7f]")
# Percent-encoded unreserved characters (RFC 3986 section 2.3), slash, backslash and percent.
_NEEDLESSLY_ENCODED = re.compile(
    rb"%(?:2[def5]|3\d|4[1-9a-f]|5[\dacf]|6[1-9a-f]|7[\dae])", re.IGNORECASE
)


class _Exemptions:
    """Paths that are not read: exact, or a prefix where the entry ends in `/*`."""

    def __init__(self, paths: Sequence[str]) -> None:
        if isinstance(paths, str):
            raise ConfigurationError(f"exempt={paths!r} is one string; use a list of paths")
        self._exact: set[str] = set()
        self._prefixes: list[str] = []
        for path in paths:
            base = path.removesuffix("*") if path.endswith("/*") else path
            if base == "/" != path:
                raise ConfigurationError('exempt="/*" exempts everything; leave the guard out')
            if not _plain(base) or "*" in base:
                raise ConfigurationError(
                    f"exempt={path!r} can never match; use a plain path as the router sees it, "
                    'like "/healthz", or "/static/*" for everything below'
                )
            if base == path:
                self._exact.add(path)
            else:
                self._prefixes.append(base)

    def match(self, scope: Scope) -> bool:
        if not self._exact and not self._prefixes:
            return False
        path = _route_path(scope)
        if path not in self._exact and not path.startswith(tuple(self._prefixes)):
            return False
        raw: bytes = scope.get("raw_path") or b""
        return _plain(path) and not _NEEDLESSLY_ENCODED.search(raw)


def _plain(path: str) -> bool:
    return path.startswith("/") and not _NOT_PLAIN.search(path)


def _roles(names: Iterable[Role | str]) -> frozenset[Role]:
    try:
        return frozenset(Role(name) for name in names)
    except ValueError as error:
        known = ", ".join(role.value for role in Role)
        raise ConfigurationError(f"trusted_roles: {error}; the roles are {known}") from None
