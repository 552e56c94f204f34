"""ASGI spoken by hand: requests in any number of pieces, and an application that notes it all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

JSON = ((b"content-type", b"application/json"),)


def chat(*turns: str, role: str = "user") -> bytes:
    """The body of an OpenAI chat completions request."""
    return json.dumps({"messages": [{"role": role, "content": turn} for turn in turns]}).encode()


def http_scope(
    path: str = "/v1/chat/completions",
    *,
    method: str = "POST",
    headers: Sequence[tuple[bytes, bytes]] = JSON,
    query: bytes = b"",
    **more: object,
) -> Scope:
    """An HTTP scope with just what the specification requires; `more` adds or replaces keys."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "query_string": query,
        "headers": list(headers),
        **more,
    }


@dataclass
class Notes:
    """An application that reads its request to the end and notes what it was given."""

    scopes: list[Scope] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    status: int = 200
    headers: Sequence[tuple[bytes, bytes]] = ((b"content-type", b"text/plain"),)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        more = True
        while more:
            message = await receive()
            self.messages.append(message)
            more = message.get("more_body", False)
        start = {"type": "http.response.start", "status": self.status, "headers": self.headers}
        await send(start)
        await send({"type": "http.response.body", "body": b"answer"})

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)


@dataclass
class Exchange:
    """What came out of one request."""

    sent: list[Message] = field(default_factory=list)

    @property
    def status(self) -> int:
        status: int = self.sent[0]["status"]
        return status

    @property
    def headers(self) -> dict[str, str]:
        return {n.decode().lower(): v.decode() for n, v in self.sent[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent[1:])


async def exchange(
    app: ASGIApp, scope: Scope, chunks: Sequence[bytes] = (b"",), *, leaves: bool = False
) -> Exchange:
    """Send one request and collect the answer.

    The client stays until the response is complete, or leaves before its body is (`leaves`).
    """
    result = Exchange()
    answered = asyncio.Event()
    pieces: list[Message] = [
        {"type": "http.request", "body": chunk, "more_body": leaves or number < len(chunks) - 1}
        for number, chunk in enumerate(chunks)
    ]

    async def receive() -> Message:
        if pieces:
            return pieces.pop(0)
        if not leaves:
            await answered.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        result.sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            answered.set()

    await app(scope, receive, send)
    return result
