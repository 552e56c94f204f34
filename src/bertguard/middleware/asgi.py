"""GuardMiddleware: which requests and connections go where."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from bertguard.edge import NOTHING_TO_READ, TOO_LARGE, checked_cap, nothing_to_read
from bertguard.guard import Guard, require_asyncio
from bertguard.middleware.exemptions import EXEMPT, Exemptions, route_path
from bertguard.middleware.http import (
    ClientLeftError,
    Replay,
    inflated,
    read_body,
    reporting,
    scope_with,
    send_nothing,
    send_refusal,
    while_connected,
)
from bertguard.middleware.judging import Judge
from bertguard.middleware.websocket import GuardedSocket
from bertguard.policy import Policy
from bertguard.segments import Role
from bertguard.verdict import Verdict
from bertguard.wire.dialects import dialect_of
from bertguard.wire.refusal import refuse, too_large

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# 4 MiB of JSON is about a million tokens of text: the longest context that LLMs are sold with,
# and about what the guard's default `max_windows` covers. Larger bodies carry media. Every open
# request may hold this much memory, so the number is also a bound on what a crowd can cost.
DEFAULT_MAX_BODY_BYTES = 4 * 1024 * 1024


class GuardMiddleware:
    """Puts a guard in front of any ASGI application, for HTTP and WebSocket.

    Every request is read, whatever its method, path or content type; only one without a body,
    without a query string and with a path of a few plain words needs no judgement.
    `scope["state"]["guard"]`, which is `request.state.guard` in Starlette and FastAPI, holds the
    `Verdict`, also for a middleware outside, also of a refusal. A blocked request is answered in
    the error format of its dialect and never reaches the application. A flagged one passes and its
    response carries `x-guard-action: flag` and `x-guard-score`; one that was not scanned whole
    carries `x-guard-status: unscanned`. In shadow mode everything passes, also what is over the
    cap, and `x-guard-mode: shadow` stands beside what would have been done. `x-guard-*` headers of
    anybody else's are taken away, from requests and from responses. Where one guard stands behind
    another, the outer one reports the stricter verdict of the two. A client that leaves before it
    is answered gets the status 499, which is for logs and for what stands outside.

    Text frames of a WebSocket are judged one by one (block: close 1008), binary frames follow the
    policy's `on_unscanned`; `websocket.state.guard` holds the latest verdict.

    Args:
        app: the application behind the guard.
        guard: a `Guard`, or a function without arguments that returns one. The function is called
            once, in a worker thread, when the application has completed its lifespan start-up (or
            at the first request where no lifespan is run), so that it may load a checkpoint or
            return what the application's own lifespan has loaded. If it fails at start-up, the
            start-up fails. Whoever made the guard closes it.
        max_body_bytes: a longer body, or WebSocket message, is refused unread (413, close 1009); a
            compressed body also where it is longer once it is inflated.
        exempt: routes that are not read: a path (`/healthz`), everything below one (`/static/*`),
            or either with one method (`GET /static/*`). They are compared with the path as the
            application's router sees it (without `root_path`), and a path in any but its plain
            spelling is never exempt.
        trusted_roles: roles whose texts are not scored. The default trusts nobody: the caller
            wrote every turn. `Policy.trusted_roles` overrides it.
        routes: policies of single routes in place of the guard's own, written like `exempt`:
            `{"/v1/embeddings": Policy(trusted_roles=["embedding"])}`. They are compared in the
            same way; a path in any but its plain spelling has to satisfy the guard's own policy
            and that of every route that it could mean.
        websocket: False exempts every WebSocket connection.
        report_headers: False keeps verdicts out of response headers, where a stranger could use
            the score to find his way around.

    Raises:
        ConfigurationError: an option that cannot work. Any call under another event loop than
            asyncio's (hypercorn's trio worker, say) raises it, too.
    """

    def __init__(
        self,
        app: ASGIApp,
        guard: Guard | Callable[[], Guard],
        *,
        max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
        exempt: Sequence[str] = (),
        trusted_roles: Collection[Role | str] = (),
        routes: Mapping[str, Policy] | None = None,
        websocket: bool = True,
        report_headers: bool = True,
    ) -> None:
        self.app = app
        self.max_body_bytes = checked_cap(max_body_bytes)
        self.websocket = websocket
        self.report_headers = report_headers
        self._judge = Judge(guard, trusted_roles, routes or {})
        self._exempt = Exemptions(exempt)

    @property
    def trusted_roles(self) -> frozenset[Role]:
        """Roles whose texts are not scored, unless the policy names its own."""
        return self._judge.trusted_roles

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        require_asyncio()
        kind = scope["type"]
        if kind == "lifespan" and self._judge.waits_for_start_up:
            await self.app(scope, receive, self._loading_at_start_up(send))
        elif kind not in ("http", "websocket"):
            await self.app(scope, receive, send)
        elif self._exempt.match(scope) or (kind == "websocket" and not self.websocket):
            scope = scope_with(scope, EXEMPT)
            send = reporting(send, scope, EXEMPT, report_headers=self.report_headers)
            await self.app(scope, receive, send)
        elif kind == "websocket":
            socket = GuardedSocket(self._judge, self.max_body_bytes, scope, receive, send)
            await socket.run(self.app)
        else:
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Before the scope is copied: what stands outside reads the verdict here, also of a refusal.
        state = scope.setdefault("state", {})
        try:
            body, more = await read_body(receive, self.max_body_bytes)
        except ClientLeftError:
            await send_nothing(send)
            return
        over = len(body) > self.max_body_bytes
        if body and not over:
            plain = await inflated(scope, body, self.max_body_bytes)
            over = plain is None
            scope, body = plain or (scope, body)
        replay = Replay(body, receive, complete=not more)
        try:
            verdict = (
                await self._judge.refused(scope, TOO_LARGE)
                if over
                else await self._verdict(scope, body, replay)
            )
            if verdict is None:  # the client has left
                await send_nothing(send)
                return
            state["guard"] = verdict
            if verdict.blocked:
                if over:
                    refusal = too_large(self.max_body_bytes, dialect_of(route_path(scope)))
                else:
                    refusal = refuse(verdict)
                await send_refusal(send, refusal, head=scope["method"] == "HEAD")
                return
            scope = scope_with(scope, verdict)
            send = reporting(send, scope, verdict, report_headers=self.report_headers)
            await self.app(scope, replay, send)
        finally:
            await replay.aclose()

    async def _verdict(self, scope: Scope, body: bytes, replay: Replay) -> Verdict | None:
        query = scope.get("query_string", b"").decode("latin-1")
        if nothing_to_read(scope["path"], query, body):
            return NOTHING_TO_READ
        headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in scope["headers"]]
        return await while_connected(self._judge.body(scope, body, headers, query), replay)

    def _loading_at_start_up(self, send: Send) -> Send:
        async def after_start_up(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                # An exception goes up into the application's lifespan, which reports that the
                # start-up failed: better than a service that refuses everything.
                await self._judge.ready()
            await send(message)

        return after_start_up
