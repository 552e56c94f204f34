"""The application behind `guard serve`: a scoring API, and a guarded way to an LLM.

    GET  /            what is served here, in a few lines of plain text
    GET  /healthz     200 once the guard has scored a text
    POST /v1/check    a text, segments or a request body -> Verdict, as JSON
    GET  /metrics     Prometheus, where it is asked for
    everything else   GuardMiddleware in front of the gateway, or of the built-in echo

All but the last answer their own method and path and nothing else: `POST /` or `/v1/check/` is
everything else, and so is whatever tries to look like them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Match, Route, Router

from bertguard.guard import Guard
from bertguard.middleware import DEFAULT_MAX_BODY_BYTES, GuardMiddleware
from bertguard.server.checking import BadCheckError, read_check
from bertguard.server.echo import create_echo
from bertguard.server.gateway import Gateway
from bertguard.server.telemetry import Metrics

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Scope

__all__ = ["create_app"]

_INDEX = """\
bertguard: a guard against prompt injections in front of an LLM

GET  /healthz    is the guard ready, and which model judges
POST /v1/check   {"text": "...", "channel": "prompt"} -> a verdict
{metrics}anything else    is judged, then answered by {behind}
"""
_INDEX_METRICS = "GET  /metrics    what it has judged, for Prometheus\n"


def create_app(
    guard: Guard,
    *,
    upstream: str | None = None,
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
    connect_timeout_seconds: float = 10.0,
    read_timeout_seconds: float = 600.0,
    metrics: Metrics | None = None,
) -> ASGIApp:
    """The application; its lifespan warms the guard up and, at the end, closes it.

    Args:
        guard: judges every request; the application owns it from here on.
        upstream: URL of the LLM server; None puts the built-in echo behind the guard.
        max_body_bytes: a longer request body is refused unread.
        connect_timeout_seconds: see `Gateway`, like the next one.
        read_timeout_seconds: the longest silence of the upstream.
        metrics: served at `GET /metrics`; None leaves that path to what is behind the guard.

    Raises:
        ConfigurationError: an option that cannot work.
    """
    gateway: Gateway | None = None
    if upstream is not None:
        gateway = Gateway(
            upstream,
            connect_timeout_seconds=connect_timeout_seconds,
            read_timeout_seconds=read_timeout_seconds,
        )
    guarded = GuardMiddleware(gateway or create_echo(), guard, max_body_bytes=max_body_bytes)
    index = _INDEX.replace("{metrics}", "" if metrics is None else _INDEX_METRICS).replace(
        "{behind}", "a built-in echo" if gateway is None else "the LLM upstream"
    )
    api = _Api(guard, max_body_bytes, index)

    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[None]:
        try:
            # The first call of a model is slow; it should not be somebody's request.
            await api.warm_up()
            yield
        finally:
            if gateway is not None:
                await gateway.aclose()
            # Closing joins the worker threads.
            await asyncio.to_thread(guard.close)

    routes = [
        _ExactRoute("/", api.index, methods=["GET"]),
        _ExactRoute("/healthz", api.healthz, methods=["GET"]),
        _ExactRoute("/v1/check", api.check, methods=["POST"]),
    ]
    if metrics is not None:
        routes.append(_ExactRoute("/metrics", _exposing(metrics), methods=["GET"]))
    return Router(
        routes,
        default=guarded,
        redirect_slashes=False,
        lifespan=lifespan,
    )


def _exposing(metrics: Metrics) -> Callable[[Request], Awaitable[Response]]:
    async def expose(request: Request) -> Response:
        content, media_type = await asyncio.to_thread(metrics.exposition)
        return Response(content, headers={"content-type": media_type})

    return expose


class _ExactRoute(Route):
    """A route that leaves other methods on its path to the application behind the guard."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child_scope = super().matches(scope)
        return (match, child_scope) if match is Match.FULL else (Match.NONE, {})


class _Api:
    """The routes that are not guarded: none of them passes anything on to an LLM."""

    def __init__(self, guard: Guard, max_body_bytes: int, index: str) -> None:
        self._guard = guard
        self._max_body_bytes = max_body_bytes
        self._index = index
        self._warm = False

    async def warm_up(self) -> None:
        """Score one text; a guard that cannot stays cold and says so at `/healthz`."""
        if not self._warm:
            verdict = await self._guard.check("Is anybody there?")
            self._warm = not verdict.unscanned

    async def index(self, request: Request) -> Response:
        return PlainTextResponse(self._index)

    async def healthz(self, request: Request) -> Response:
        await self.warm_up()
        return JSONResponse(
            {
                "status": "ok" if self._warm else "unavailable",
                "model": self._guard.model_id,
                "mode": self._guard.policy.mode,
            },
            status_code=200 if self._warm else 503,
        )

    async def check(self, request: Request) -> Response:
        try:
            body = await self._body(request)
            # Off the loop: megabytes of JSON take as long to read as a text to score.
            check = await asyncio.to_thread(read_check, body)
        except ClientDisconnect:
            return Response(status_code=400)
        except BadCheckError as error:
            document = {"message": str(error), "field": error.field, "type": "invalid_request"}
            return JSONResponse({"error": document}, status_code=error.status)
        return JSONResponse((await check.run(self._guard)).to_dict())

    async def _body(self, request: Request) -> bytes:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._max_body_bytes:
                raise BadCheckError(
                    "", f"the body is longer than {self._max_body_bytes} bytes", status=413
                )
        return bytes(body)
