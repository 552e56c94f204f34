"""One HTTP request: its body in, its refusal or the application's own response out."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING

from bertguard.edge import is_report
from bertguard.errors import UnreadableError
from bertguard.middleware.exemptions import EXEMPT
from bertguard.middleware.judging import strictest
from bertguard.verdict import Action, Verdict
from bertguard.wire.headers import inflate
from bertguard.wire.refusal import Refusal

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

# A client that leaves is noticed only while somebody waits for its messages. Scorings that end
# sooner than this are cheaper to finish than to watch.
_WATCH_AFTER_SECONDS = 0.25

# The messages of an application whose headers go out to the client.
_WITH_HEADERS = (
    "http.response.start",
    "http.response.trailers",
    "websocket.accept",
    "websocket.http.response.start",
)


class ClientLeftError(Exception):
    """The client went away before its body was complete."""


async def read_body(receive: Receive, max_bytes: int) -> tuple[bytes, bool]:
    """The body in one piece, and whether more of it follows; bytes are counted, not claimed.

    Reading stops with the piece that passes `max_bytes`, which may be the last.

    Raises:
        ClientLeftError: the client went away half way.
    """
    body = bytearray()
    more = True
    while more and len(body) <= max_bytes:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeftError
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body), more


async def inflated(scope: Scope, body: bytes, max_bytes: int) -> tuple[Scope, bytes] | None:
    """Scope and body without a content encoding, so that the application reads what the guard read.

    Most frameworks inflate nothing, and a compressed stream can be made to hold a text of its own
    for them. A body that does not inflate, or out of all proportion, stays as it is and is refused
    as unreadable. None where there is more in it than `max_bytes`: the bound is on what a request
    holds in memory.
    """
    headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in scope.get("headers", ())]
    if not any(name.lower() == "content-encoding" for name, _ in headers):
        return scope, body
    try:
        plain = await asyncio.to_thread(inflate, body, headers, max_bytes=max_bytes)
    except UnreadableError as error:
        return None if error.reason == "inflated_size" else (scope, body)
    kept = [
        (name, value)
        for name, value in scope["headers"]
        if name.lower() not in (b"content-encoding", b"content-length", b"transfer-encoding")
    ]
    kept.append((b"content-length", str(len(plain)).encode("ascii")))
    return {**scope, "headers": kept}, plain


class Replay:
    """The application's `receive`: the body in one message, then whatever the server says.

    `complete` is False where the server has more of the body.
    """

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
        """End the reading ahead."""
        if self._ahead is not None:
            await cancelled(self._ahead)


async def while_connected(
    judging: Coroutine[object, object, Verdict], replay: Replay
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
        await cancelled(task)


async def cancelled(task: asyncio.Task[Message] | asyncio.Task[Verdict]) -> None:
    """Cancel a task that still runs, and wait until it has ended."""
    if not task.done():
        task.cancel()
        await asyncio.wait({task})


def scope_with(scope: Scope, verdict: Verdict) -> Scope:
    """A copy of the scope without inbound `x-guard-*`, and with the verdict in its state.

    The state of a request is its own (servers copy what the lifespan left there), and it is shared
    with whatever stands outside: an outer middleware reads the verdict after the call.
    """
    headers = [(name, value) for name, value in scope.get("headers", ()) if not is_report(name)]
    state: dict[str, object] = scope.setdefault("state", {})
    state["guard"] = verdict
    return {**scope, "headers": headers}


async def send_refusal(send: Send, refusal: Refusal, *, head: bool) -> None:
    """Answer in the application's place; `head` leaves the body out, as HEAD wants it."""
    headers = [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in refusal.headers]
    if not any(name == b"content-length" for name, _ in headers):
        headers.append((b"content-length", str(len(refusal.body)).encode("ascii")))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else refusal.body})


async def send_nothing(send: Send) -> None:
    """End an exchange whose client has gone.

    Nobody reads it, but what stands outside may insist on a response: Starlette's
    `BaseHTTPMiddleware` raises where there is none. 499 is what nginx logs in this case.
    """
    with suppress(OSError):  # ASGI lets a server raise it once the client has gone
        headers = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 499, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def without_reports(message: Message) -> Message:
    """What the application sends, without `x-guard-*`: only the guard reports in its own name."""
    if message["type"] not in _WITH_HEADERS or "headers" not in message:
        return message
    return {**message, "headers": [(n, v) for n, v in message["headers"] if not is_report(n)]}


def reporting(send: Send, scope: Scope, verdict: Verdict, *, report_headers: bool) -> Send:
    """`send` with a report on the response, and no `x-guard-*` of anybody else's.

    Behind the guard may stand a gateway, whose upstream is a stranger, or a second guard. The
    latter leaves its verdict in the state that both share, and the report is written anew, from
    the stricter of the two.
    """

    async def send_with_report(message: Message) -> None:
        message = without_reports(message)
        if message["type"] == "http.response.start":
            found = (verdict, scope["state"].get("guard"))
            told = [one for one in found if isinstance(one, Verdict) and one != EXEMPT]
            report = _report(strictest(told), report_headers=report_headers) if told else []
            message = {**message, "headers": [*message.get("headers", ()), *report]}
        await send(message)

    return send_with_report


def _report(verdict: Verdict, *, report_headers: bool) -> list[tuple[bytes, bytes]]:
    report: list[tuple[bytes, bytes]] = []
    if verdict.blocked:  # by a second guard, whose refusal says so whatever the options are
        return [(b"x-guard-action", b"block")]
    if not report_headers:
        return report
    if verdict.action is not Action.ALLOW:
        report.append((b"x-guard-action", verdict.action.value.encode("ascii")))
        report.append((b"x-guard-score", f"{verdict.score:.4f}".encode("ascii")))
    if verdict.unscanned:
        report.append((b"x-guard-status", b"unscanned"))
    if report and not verdict.enforced:
        report.append((b"x-guard-mode", b"shadow"))
    return report
