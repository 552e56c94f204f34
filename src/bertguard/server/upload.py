"""The body of one request, on its way from the client to the upstream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Message, Receive


class ClientLeftError(Exception):
    """The client went away before its body was complete."""


class Upload:
    """A request body on its way through, and the word that its client has left."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._first: Message = {}
        self._complete = asyncio.Event()

    async def begin(self) -> bool:
        """Wait for the first piece; False where the client left before it."""
        self._first = await self._receive()
        if self._first["type"] == "http.disconnect":
            return False
        if not self._first.get("more_body", False):
            self._complete.set()
        return True

    @property
    def content(self) -> bytes | AsyncIterator[bytes]:
        """All of it where it came in one piece (behind the middleware always), else the pieces."""
        if self._complete.is_set():
            return bytes(self._first.get("body", b""))
        return self._pieces()

    def length(self, headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
        """`Content-Length` for the next hop; None leaves the body chunked or absent."""
        claimed = next((value for name, value in headers if name == b"content-length"), None)
        if not self._complete.is_set():
            # The server in front holds the client to what it claimed.
            return claimed
        length = len(self._first.get("body", b""))
        return b"%d" % length if length or claimed is not None else None

    async def _pieces(self) -> AsyncIterator[bytes]:
        message = self._first
        while True:
            if message["type"] == "http.disconnect":
                raise ClientLeftError
            if message.get("body"):
                yield message["body"]
            if not message.get("more_body", False):
                break
            message = await self._receive()
        self._complete.set()

    async def client_left(self) -> None:
        """Return when the client has gone; until the body is complete, its reader would notice."""
        await self._complete.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass
