"""The four faces of the guarded client, {httpx, httpx2} x {async, sync}, used as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import httpx
import httpx2

from bertguard import Guard
from bertguard.client import guarded_client


@dataclass(frozen=True)
class Face:
    """One of the four, with one way to use them all."""

    library: Literal["httpx", "httpx2"]
    sync: bool

    def client(self, guard: Guard, **options: object) -> Any:
        return guarded_client(guard, library=self.library, sync=self.sync, **options)  # type: ignore[call-overload]

    @property
    def module(self) -> Any:
        return httpx if self.library == "httpx" else httpx2

    async def request(self, client: Any, method: str, url: str, **options: object) -> Any:
        if self.sync:
            return await asyncio.to_thread(client.request, method, url, **options)
        return await client.request(method, url, **options)

    async def close(self, client: Any) -> None:
        if self.sync:
            client.close()
        else:
            await client.aclose()

    def upload(self, pieces: Sequence[bytes]) -> Any:
        async def later() -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

        return iter(pieces) if self.sync else later()


FACES = [Face("httpx", False), Face("httpx", True), Face("httpx2", False), Face("httpx2", True)]
