"""A reverse proxy to an LLM: bytes in, bytes out, nothing held back.

One request: the target and the headers are passed on as they came (RFC 9110 section 7.6.1 names
those that end at each hop), the body as it comes, the response as it comes, but for redirects to
the upstream itself, which lead back to the gateway and so past the guard in front of it. Nothing is
decoded, followed, retried or remembered. What was scored before is what the LLM gets.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx

from bertguard.errors import ConfigurationError
from bertguard.server.upload import ClientLeftError, Upload
from bertguard.server.upstream import behind_gateway, cause, climbs, upstream_url
from bertguard.wire.dialects import dialect_of

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

__all__ = ["Gateway"]

_logger = logging.getLogger("bertguard.gateway")

_Headers = list[tuple[bytes, bytes]]

# RFC 9110 section 7.6.1 and, for the two about proxies and for trailers, RFC 2616 section 13.5.1.
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# Written anew for the next hop. `Expect` was met when the body was read (RFC 9110 section 10.1.1).
_REWRITTEN = frozenset({b"host", b"content-length", b"expect"})
# Where a client may go next (RFC 9110 sections 10.2.2 and 8.7).
_PLACES = frozenset({b"location", b"content-location"})
# A tunnel would carry what nobody reads, and a trace would tell what the gateway has added.
_NOT_FORWARDED = frozenset({"CONNECT", "TRACE"})
_ALLOW = (b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")


class Gateway:
    """An ASGI application that answers with what another server answers.

    Args:
        upstream: `http://` or `https://` URL; its path is put before every request's path, so for
            an LLM at `https://host/v1/chat/completions` it is `https://host`. Where there is one,
            no request leaves it: paths with a `..` are refused.
        connect_timeout_seconds: for one connection to the upstream, TLS included.
        read_timeout_seconds: the longest silence of the upstream. LLMs are silent while they
            think: the OpenAI SDK waits 600 seconds as well.

    Raises:
        ConfigurationError: `upstream` is no such URL, or a timeout is not above 0.
    """

    def __init__(
        self,
        upstream: str,
        *,
        connect_timeout_seconds: float = 10.0,
        read_timeout_seconds: float = 600.0,
    ) -> None:
        for name, value in (
            ("connect_timeout_seconds", connect_timeout_seconds),
            ("read_timeout_seconds", read_timeout_seconds),
        ):
            if not value > 0:
                raise ConfigurationError(f"{name}={value!r} gives no time; use more than 0")
        self._url = upstream_url(upstream)
        self._prefix = self._url.raw_path.rstrip(b"/")
        self._timeout = httpx.Timeout(
            connect=connect_timeout_seconds,
            read=read_timeout_seconds,
            write=read_timeout_seconds,
            pool=None,
        )
        # A transport and no client: a client would follow, remember cookies, add headers of its
        # own and read proxies from the environment. Streams hold their connection for minutes, so
        # their number is bounded by the server in front, not here.
        self._transport = httpx.AsyncHTTPTransport(
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64)
        )
        # Names this gateway in `Via`, so that it knows its own requests when they come back.
        self._pseudonym = f"bertguard-{secrets.token_hex(4)}"

    async def aclose(self) -> None:
        """Close the connections to the upstream."""
        await self._transport.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            # Before the handshake this is a 403: there is no WebSocket behind the gateway.
            await send({"type": "websocket.close", "code": 1003})
            return
        if scope["type"] != "http":
            raise RuntimeError(f"the gateway cannot serve the ASGI scope {scope['type']!r}")
        if refusal := self._refusal(scope):
            await _answer(send, scope, *refusal)
        else:
            await self._exchange(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str, str] | None:
        """Status, code and message for what cannot be forwarded."""
        method = scope["method"].upper()  # as httpx writes it
        if method in _NOT_FORWARDED:
            return 405, "method_not_allowed", f"{method} is not forwarded by this gateway"
        if _asks_for_websocket(scope["headers"]):
            # A server that speaks no WebSocket hands the handshake on as a plain GET.
            return (
                403,
                "websocket_not_forwarded",
                "WebSockets are not forwarded by this gateway; use plain HTTP requests",
            )
        path = _path(scope)
        if not path.startswith(b"/"):
            return 400, "bad_target", "the request target is not a path"
        if self._prefix and climbs(path):
            return 400, "bad_target", "the path of the request holds a .. segment"
        if any(n == b"via" and self._pseudonym.encode() in v for n, v in scope["headers"]):
            return 508, "loop", "the upstream of this gateway is the gateway itself"
        return None

    async def _exchange(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward, and stop as soon as the client has gone."""
        body = Upload(receive)
        if not await body.begin():
            return
        request = httpx.Request(
            scope["method"],
            self._url,
            headers=self._request_headers(scope, body),
            content=body.content,
            extensions={"target": self._target(scope), "timeout": self._timeout.as_dict()},
        )
        forwarding = asyncio.ensure_future(self._forward(request, scope, send))
        watching = asyncio.ensure_future(body.client_left())
        try:
            await asyncio.wait({forwarding, watching}, return_when=asyncio.FIRST_COMPLETED)
            if forwarding.done():
                forwarding.result()
        finally:
            for task in (forwarding, watching):
                task.cancel()
            # Cancelling closes the upstream's connection; that takes a few steps of the loop.
            await asyncio.wait({forwarding, watching})

    async def _forward(self, request: httpx.Request, scope: Scope, send: Send) -> None:
        try:
            response = await self._transport.handle_async_request(request)
        except ClientLeftError:
            return
        except httpx.TransportError as error:
            await _failed(send, scope, error)
            return
        except Exception as error:  # noqa: BLE001 - no trace: the text may be anybody's
            _logger.error("a request could not be forwarded: %s", cause(error))
            message = f"the request could not be forwarded ({type(error).__name__})"
            await _answer(send, scope, 502, "upstream_unreachable", message)
            return
        status = response.status_code
        if not 200 <= status <= 599:
            # Servers send no other as the last word, and fail at it half way.
            await response.aclose()
            _logger.warning("the upstream answered with the status %d", status)
            message = f"the LLM behind this gateway answered with the status {status}"
            await _answer(send, scope, 502, "upstream_invalid", message)
            return
        headers = self._response_headers(scope, response)
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": status,
                    "headers": headers,
                }
            )
            async for chunk in response.aiter_raw():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except httpx.TransportError as error:
            # The response stays without its end: the server then cuts the connection, and the
            # client sees that something is missing. A clean end here would be a lie.
            _logger.warning("the upstream broke off its response: %s", type(error).__name__)
            return
        finally:
            await response.aclose()
        await send({"type": "http.response.body", "body": b""})

    def _target(self, scope: Scope) -> bytes:
        """Path and query as they stood in the request line, behind the upstream's own path."""
        query: bytes = scope.get("query_string", b"")
        return self._prefix + _path(scope) + (b"?" + query if query else b"")

    def _request_headers(self, scope: Scope, body: Upload) -> _Headers:
        headers = [(n, v) for n, v in _end_to_end(scope["headers"]) if n not in _REWRITTEN]
        via = f"{scope.get('http_version', '1.1')} {self._pseudonym}"
        headers.append((b"via", via.encode("ascii")))
        length = body.length(scope["headers"])
        if length is not None:
            headers.append((b"content-length", length))
        return headers

    def _response_headers(self, scope: Scope, response: httpx.Response) -> _Headers:
        headers = [(name.lower(), value) for name, value in _end_to_end(response.headers.raw)]
        return [
            (name, behind_gateway(value, self._url, _root(scope)) if name in _PLACES else value)
            for name, value in headers
        ]


def _end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> _Headers:
    """Headers without those that concern one connection alone (RFC 9110 section 7.6.1)."""
    headers = list(headers)
    dropped = set(_HOP_BY_HOP)
    for name, value in headers:
        if name.lower() == b"connection":
            options = {option.strip().lower() for option in value.split(b",")}
            # What says how to read the body stays with it: the guard has read it that way.
            dropped |= {option for option in options if not option.startswith(b"content-")}
    return [(name, value) for name, value in headers if name.lower() not in dropped]


def _root(scope: Scope) -> bytes:
    """The path that this server is mounted at, as it stands in a request line."""
    return quote(scope.get("root_path", "")).encode("ascii")


def _path(scope: Scope) -> bytes:
    """The path as it stood in the request line, below the one that this server is mounted at."""
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode("ascii")
    root = _root(scope)
    return raw[len(root) :] if root and raw.startswith(root + b"/") else raw


def _asks_for_websocket(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(
        name == b"upgrade" and b"websocket" in (word.strip() for word in value.lower().split(b","))
        for name, value in headers
    )


async def _failed(send: Send, scope: Scope, error: httpx.TransportError) -> None:
    status, code, what = 502, "upstream_unreachable", "could not be reached"
    if isinstance(error, httpx.TimeoutException):
        status, code, what = 504, "upstream_timeout", "did not answer in time"
    elif isinstance(error, httpx.RemoteProtocolError):
        # The one error for both; only its words tell a server that hangs up.
        if str(error).startswith("Server disconnected"):
            what = "closed the connection without an answer"
        else:
            code, what = "upstream_invalid", "answered with something that is no HTTP"
    # The log alone says why: it is of no use to the client, and tells of the network within.
    _logger.warning("the upstream %s: %s", what, cause(error))
    message = f"the LLM behind this gateway {what} ({type(error).__name__}); try again later"
    await _answer(send, scope, status, code, message)


async def _answer(send: Send, scope: Scope, status: int, code: str, message: str) -> None:
    """An error of the gateway itself, in the shape that the dialect's SDK reads."""
    if dialect_of(scope["path"]).startswith("anthropic"):
        document: dict[str, object] = {
            "type": "error",
            "error": {"type": "api_error", "message": message},
        }
    else:
        document = {"error": {"message": message, "type": "api_error", "param": None, "code": code}}
    body = json.dumps(document).encode("ascii")
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
    ]
    if status == 405:
        headers.append(_ALLOW)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
