"""One WebSocket connection: its handshake and every message are judged on their way in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bertguard.edge import INTERNAL_ERROR, NOTHING_TO_READ, TOO_LARGE, nothing_to_read
from bertguard.middleware.http import cancelled, scope_with, without_reports
from bertguard.middleware.judging import Judge
from bertguard.verdict import Verdict

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Close codes, RFC 6455 section 7.4.1.
_POLICY_VIOLATION, _MESSAGE_TOO_BIG, _SERVER_ERROR = 1008, 1009, 1011


class ConnectionClosedError(OSError):
    """The guard closed the connection. ASGI wants an OSError from a `send` after the end."""


class GuardedSocket:
    """The two ends of a connection that the application is given in place of the server's."""

    def __init__(
        self, judge: Judge, max_message_bytes: int, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._judge = judge
        self._max_message_bytes = max_message_bytes
        self._scope = scope
        self._receive = receive
        self._send = send
        self._state: dict[str, object] = {}
        self._connect: Message | None = None
        self._next: asyncio.Task[Message] | None = None
        self._turn = asyncio.Lock()
        self._closed_with: int | None = None

    async def run(self, app: ASGIApp) -> None:
        """Judge the handshake, then let the application talk."""
        self._connect = await self._receive()
        if self._connect["type"] != "websocket.connect":
            return
        verdict = NOTHING_TO_READ
        query = self._scope.get("query_string", b"").decode("latin-1")
        if not nothing_to_read(self._scope["path"], query, b""):
            verdict = await self._judge.body(self._scope, b"", query=query)
        scope = scope_with(self._scope, verdict)
        if verdict.blocked:
            await self._close(verdict)
            return
        self._state = scope["state"]
        try:
            await app(scope, self.receive, self.send)
        finally:
            if self._next is not None:
                await cancelled(self._next)

    async def receive(self) -> Message:
        """The next message, if the guard lets it pass, else the end of the connection."""
        if self._connect is not None:
            message, self._connect = self._connect, None
            return message
        async with self._turn:  # each who waits gets a message of his own, in turn
            # A task of its own: an application may give up waiting (a heartbeat's timeout), and the
            # message that is being scored then must not be lost.
            if self._next is None:
                self._next = asyncio.ensure_future(self._next_judged())
            message = await asyncio.shield(self._next)
            self._next = None
            return message

    async def _next_judged(self) -> Message:
        if self._closed_with is None:
            message = await self._receive()
            if message["type"] != "websocket.receive":
                return message
            verdict = await self._verdict(message)
            self._state["guard"] = verdict
            if not verdict.blocked:
                return message
            await self._close(verdict)
        return {"type": "websocket.disconnect", "code": self._closed_with}

    async def _verdict(self, message: Message) -> Verdict:
        data: bytes | None = message.get("bytes")
        text = (message.get("text") or "").encode("utf-8", "surrogatepass")
        if len(text) + len(data or b"") > self._max_message_bytes:
            return await self._judge.refused(self._scope, TOO_LARGE)
        if data is not None:
            return await self._judge.no_text(self._scope, "binary_frame")
        if not text:
            return NOTHING_TO_READ
        # The query string was judged with the handshake.
        content_type = ("content-type", "text/plain; charset=utf-8")
        return await self._judge.body(self._scope, text, (content_type,))

    async def _close(self, verdict: Verdict) -> None:
        code, reason = _POLICY_VIOLATION, "refused by the prompt guard"
        if TOO_LARGE in verdict.unscanned:
            code, reason = _MESSAGE_TOO_BIG, "the message is too large for the prompt guard"
        elif INTERNAL_ERROR in verdict.unscanned:
            code, reason = _SERVER_ERROR, "the prompt guard is not available"
        self._closed_with = code
        await self._send({"type": "websocket.close", "code": code, "reason": reason})

    async def send(self, message: Message) -> None:
        """Send, without `x-guard-*` headers, unless the guard has closed the connection.

        Raises:
            ConnectionClosedError: it has.
        """
        if self._closed_with is None:
            await self._send(without_reports(message))
        elif message["type"] != "websocket.close":
            raise ConnectionClosedError("the prompt guard has closed this connection")
