"""The gateway passes bytes through as they come, and says clearly when it cannot."""

from __future__ import annotations

import asyncio
import gzip
from asyncio import StreamReader as Reader
from asyncio import StreamWriter as Writer
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpx
import openai
import pytest
from anthropic import Anthropic
from anthropic import InternalServerError as AnthropicInternalServerError
from hypothesis import given
from hypothesis import strategies as st
from openai import OpenAI
from starlette.routing import Router

from bertguard.errors import ConfigurationError
from bertguard.server.gateway import Gateway, _end_to_end
from loopback import serve

Handler = Callable[[Reader, Writer], Awaitable[None]]

CLOSED_PORT = "http://127.0.0.1:1"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@contextmanager
def running(
    upstream: str, *, root_path: str = "", read_timeout_seconds: float = 10
) -> Iterator[str]:
    """A gateway on uvicorn that closes its connections at the end."""
    gateway = Gateway(upstream, read_timeout_seconds=read_timeout_seconds)

    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[None]:
        yield
        await gateway.aclose()

    with serve(Router(default=gateway, lifespan=lifespan), root_path=root_path) as url:
        yield url


@asynccontextmanager
async def tcp(handle: Handler) -> AsyncIterator[str]:
    """A bare TCP server as the upstream: what it reads is what was on the wire."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: Reader, writer: Writer) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handle(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Recorder:
    """Answers every request with the same bytes and keeps what it read."""

    def __init__(self, answer: bytes = OK) -> None:
        self.answer = answer
        self.heads: list[list[bytes]] = []
        self.bodies: list[bytes] = []

    async def __call__(self, reader: Reader, writer: Writer) -> None:
        while head := await _head(reader):
            self.heads.append(head)
            lengths = [line[16:] for line in head if line.lower().startswith(b"content-length: ")]
            self.bodies.append(await reader.readexactly(int(lengths[0])) if lengths else b"")
            writer.write(self.answer)
            await writer.drain()


async def _head(reader: Reader) -> list[bytes]:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return []
    return head.removesuffix(b"\r\n\r\n").split(b"\r\n")


async def raw_request(url: str, request: bytes) -> bytes:
    """Send bytes over a bare connection and read until it is closed."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_target_and_headers_reach_the_upstream_byte_for_byte() -> None:
    """No normalisation: escapes, dot segments, double slashes, empty query values stay."""
    recorder = Recorder()
    target = b"/v1/a%2Fb//c/./../d%c3%a9;p?q=%7B&empty=&plus=a+b&q=2"
    async with tcp(recorder) as upstream:
        with running(upstream) as url:
            await raw_request(
                url,
                b"POST " + target + b" HTTP/1.1\r\nHost: guard.example\r\nConnection: close\r\n"
                b"Authorization: Bearer secret\r\nx-custom: \xe9\r\nX-Twice: 1\r\nX-Twice: 2\r\n"
                b'Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{"a" : 1}',
            )
    request_line, *headers = recorder.heads[0]
    assert request_line == b"POST " + target + b" HTTP/1.1"
    assert recorder.bodies == [b'{"a" : 1}']
    via = [line for line in headers if line.startswith(b"via: ")]
    assert len(via) == 1
    assert via[0].startswith(b"via: 1.1 bertguard-")
    host = b"Host: " + upstream.removeprefix("http://").encode()
    assert sorted(line for line in headers if line not in via) == sorted(
        [
            host,
            b"authorization: Bearer secret",
            b"content-length: 9",
            b"content-type: application/json",
            b"x-custom: \xe9",
            b"x-twice: 1",
            b"x-twice: 2",
        ]
    )


async def test_hop_by_hop_headers_end_at_the_gateway_in_both_directions() -> None:
    """RFC 9110 section 7.6.1: the fixed names, and whatever `Connection` lists."""
    recorder = Recorder(
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\n"
        b"X-Hop: mine\r\nX-End: yours\r\nProxy-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nok"
    )
    async with tcp(recorder) as upstream:
        with running(upstream) as url:
            answer = await raw_request(
                url,
                b"GET / HTTP/1.1\r\nHost: g\r\nConnection: close, X-Private\r\nX-Private: 1\r\n"
                b"TE: trailers\r\nUpgrade: h2c\r\nKeep-Alive: 5\r\nProxy-Connection: close\r\n"
                b"Proxy-Authorization: Basic x\r\nTrailer: x\r\nExpect: 100-continue\r\n"
                b"X-Public: 1\r\n\r\n",
            )
    sent = {line.split(b":")[0].lower() for line in recorder.heads[0][1:]}
    assert sent == {b"host", b"via", b"x-public"}
    head = answer.lower()
    assert b"x-end: yours" in head
    assert b"x-hop" not in head
    assert b"keep-alive: timeout" not in head
    assert b"proxy-authenticate" not in head


async def test_body_is_passed_on_while_the_client_still_sends_it() -> None:
    """The first half of an upload reaches the upstream before the second half exists."""
    arrived = asyncio.Event()
    whole: list[bytes] = []

    async def handle(reader: Reader, writer: Writer) -> None:
        whole.extend(line for line in await _head(reader) if line.startswith(b"Transfer"))
        whole.append(await reader.readexactly(len(b"5\r\nfirst\r\n")))
        arrived.set()
        whole.append(await reader.readuntil(b"0\r\n\r\n"))
        writer.write(OK)
        await writer.drain()

    async def halves() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.wait_for(arrived.wait(), 10)
        yield b"second"

    async with tcp(handle) as upstream:
        with running(upstream) as url:
            async with httpx.AsyncClient() as client:
                response = await client.post(f"{url}/upload", content=halves())
    assert response.text == "ok"
    assert b"".join(whole) == b"Transfer-Encoding: chunked5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n"


async def test_first_byte_of_a_stream_arrives_while_the_upstream_holds_back_the_rest() -> None:
    """The client reads the first event before the upstream is allowed to write the second."""
    seen = asyncio.Event()

    async def handle(reader: Reader, writer: Writer) -> None:
        await _head(reader)
        writer.write(CHUNKED + b"d\r\ndata: first\n\n\r\n")
        await writer.drain()
        await asyncio.wait_for(seen.wait(), 10)
        writer.write(b"c\r\ndata: last\n\n\r\n0\r\n\r\n")
        await writer.drain()

    async with tcp(handle) as upstream:
        with running(upstream) as url:
            async with (
                httpx.AsyncClient() as client,
                client.stream("POST", f"{url}/v1/x", content=b"{}") as response,
            ):
                chunks = response.aiter_raw()
                first = await anext(chunks)
                seen.set()
                rest = [chunk async for chunk in chunks]
    assert first == b"data: first\n\n"
    assert b"".join(rest) == b"data: last\n\n"


@pytest.mark.parametrize("answer", [b"", CHUNKED + b"5\r\nhello\r\n"], ids=["silent", "streaming"])
async def test_client_that_leaves_ends_the_upstream_request(answer: bytes) -> None:
    """Whether the upstream thinks or streams, it sees its connection end when the client goes."""
    got_request, hung_up = asyncio.Event(), asyncio.Event()

    async def handle(reader: Reader, writer: Writer) -> None:
        await _head(reader)
        writer.write(answer)
        await writer.drain()
        got_request.set()
        await reader.read()
        hung_up.set()

    async with tcp(handle) as upstream:
        with running(upstream) as url:
            host, port = url.removeprefix("http://").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET / HTTP/1.1\r\nHost: g\r\n\r\n")
            await asyncio.wait_for(got_request.wait(), 10)
            if answer:
                await reader.readuntil(b"hello")
            writer.close()
            await writer.wait_closed()
            await asyncio.wait_for(hung_up.wait(), 10)


async def test_response_that_breaks_off_is_not_made_to_look_complete() -> None:
    """A stream cut short upstream is cut short for the client too, not ended neatly."""

    async def handle(reader: Reader, writer: Writer) -> None:
        await _head(reader)
        writer.write(CHUNKED + b"5\r\nhello\r\n")
        await writer.drain()

    async with tcp(handle) as upstream:
        with running(upstream) as url:
            async with httpx.AsyncClient() as client:
                with pytest.raises(httpx.RemoteProtocolError):
                    await client.get(url)


async def test_compressed_bodies_redirects_and_cookies_pass_untouched() -> None:
    """Nothing is decoded, followed or remembered; repeated headers stay repeated."""
    packed = gzip.compress(b"hello")
    recorder = Recorder(
        b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n"
        b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n%s" % (len(packed), packed)
    )
    async with tcp(recorder) as upstream:
        with running(upstream) as url:
            async with httpx.AsyncClient() as client:
                async with client.stream("GET", url) as response:
                    raw = b"".join([chunk async for chunk in response.aiter_raw()])
                client.cookies.clear()
                await client.get(url)
    assert response.status_code == 302
    assert response.headers["location"] == "/elsewhere"
    assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert raw == packed
    assert len(recorder.heads) == 2
    assert not any(line.lower().startswith(b"cookie") for line in recorder.heads[1])


async def test_head_keeps_the_length_and_sends_no_body() -> None:
    """The answer to HEAD says how long the body would be."""

    async def handle(reader: Reader, writer: Writer) -> None:
        await _head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n")
        await writer.drain()

    async with tcp(handle) as upstream:
        with running(upstream) as url:
            async with httpx.AsyncClient() as client:
                response = await client.head(url)
    assert response.headers["content-length"] == "1234"
    assert response.content == b""


async def test_path_of_the_upstream_url_and_root_path_of_the_server_are_joined_right() -> None:
    """The upstream's own path is put in front; the path this server is mounted at is taken off."""
    recorder = Recorder()
    async with tcp(recorder) as upstream:
        with running(f"{upstream}/base/", root_path="/guard") as url:
            await raw_request(
                url, b"GET /v1/models HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n"
            )
    assert recorder.heads[0][0] == b"GET /base/v1/models HTTP/1.1"


@pytest.mark.parametrize(
    "path", ["/v1/../secrets", "/%2e%2e/secrets", "/..%5Csecrets", "/%252e./s"]
)
async def test_path_that_climbs_out_of_the_upstream_url_is_refused(path: str) -> None:
    """`--upstream http://host/base` gives out what is under /base and nothing else."""
    recorder = Recorder()
    request = f"GET {path} HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n".encode("ascii")
    async with tcp(recorder) as upstream:
        with running(f"{upstream}/base") as url:
            answer = await raw_request(url, request)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b'"code": "bad_target"' in answer
    assert recorder.heads == []


async def test_client_that_follows_a_redirect_stays_with_the_gateway() -> None:
    """The upstream names itself; who follows comes by here, and so by the guard, again."""
    recorder = Recorder()
    async with tcp(recorder) as upstream:
        recorder.answer = (
            f"HTTP/1.1 307 T\r\nLocation: {upstream}/base/next?q=1#f\r\n"
            f"Content-Location: /base/here\r\nX-Location: {upstream}\r\ncontent-length: 0\r\n\r\n"
        ).encode("ascii")
        with running(f"{upstream}/base") as url:
            async with httpx.AsyncClient() as client:
                response = await client.get(f"{url}/first")
                recorder.answer = OK
                assert response.next_request is not None
                await client.send(response.next_request)
    assert response.headers["location"] == "/next?q=1#f"
    assert response.headers["content-location"] == "/here"
    assert response.headers["x-location"] == upstream
    assert recorder.heads[1][0] == b"GET /base/next?q=1 HTTP/1.1"
    assert any(line.startswith(b"via: ") for line in recorder.heads[1])


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "trace"])
async def test_tunnels_and_traces_are_not_forwarded(method: str) -> None:
    """405, in the gateway's own JSON and with the methods that are."""
    recorder = Recorder()
    request = f"{method} /v1/x HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n".encode("ascii")
    async with tcp(recorder) as upstream:
        with running(upstream) as url:
            answer = await raw_request(url, request)
    assert answer.startswith(b"HTTP/1.1 405")
    assert b"allow: GET, HEAD, POST" in answer
    assert b'"code": "method_not_allowed"' in answer
    assert recorder.heads == []


async def test_target_that_is_no_path_is_refused() -> None:
    """`OPTIONS *` and absolute URLs name no path behind the gateway."""
    async with tcp(Recorder()) as upstream:
        with running(upstream) as url:
            answer = await raw_request(
                url, b"GET http://evil.example/ HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n"
            )
    assert answer.startswith(b"HTTP/1.1 400")


def test_unreachable_upstream_is_a_typed_error_of_either_sdk() -> None:
    """502 in the shape of the dialect: both SDKs raise their InternalServerError with its text."""
    with running(CLOSED_PORT) as url:
        with (
            OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
            pytest.raises(openai.InternalServerError) as caught,
        ):
            client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "hello"}]
            )
        assert caught.value.status_code == 502
        assert caught.value.code == "upstream_unreachable"
        with (
            Anthropic(base_url=url, api_key="none", max_retries=0) as claude,
            pytest.raises(AnthropicInternalServerError) as refused,
        ):
            claude.messages.create(
                model="m", max_tokens=9, messages=[{"role": "user", "content": "hello"}]
            )
    assert refused.value.status_code == 502
    body = refused.value.body
    assert isinstance(body, dict)
    assert body["type"] == "error"
    assert "could not be reached (ConnectError)" in body["error"]["message"]


async def test_upstream_that_stays_silent_is_a_gateway_timeout() -> None:
    """504 after `read_timeout_seconds` without a byte."""

    async def handle(reader: Reader, writer: Writer) -> None:
        await reader.read()

    async with tcp(handle) as upstream:
        with running(upstream, read_timeout_seconds=0.05) as url:
            async with httpx.AsyncClient() as client:
                response = await client.post(url, content=b"{}")
    assert response.status_code == 504
    assert response.json()["error"]["code"] == "upstream_timeout"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 999 Wat\r\ncontent-length: 0\r\n\r\n", "answered with the status 999"),
        (b"HTTP/1.1 600 Wat\r\ncontent-length: 0\r\n\r\n", "answered with the status 600"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "answered with something that is no HTTP"),
        (b"HTTP/1.1 101 S\r\nupgrade: x\r\n\r\n", "answered with something that is no HTTP"),
        (b"", "closed the connection without an answer"),
    ],
)
async def test_answer_that_cannot_be_passed_on_is_a_bad_gateway(
    answer: bytes, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """502 in JSON, and a line in the log that says the same; no trace."""

    async def handle(reader: Reader, writer: Writer) -> None:
        await _head(reader)
        writer.write(answer)
        await writer.drain()

    async with tcp(handle) as upstream:
        with running(upstream) as url:
            async with httpx.AsyncClient() as client:
                response = await client.get(url)
    assert response.status_code == 502
    assert said in response.json()["error"]["message"]
    assert said in caplog.text
    assert "Traceback" not in caplog.text


async def test_log_says_why_the_upstream_is_out_of_reach(caplog: pytest.LogCaptureFixture) -> None:
    """Names of errors, and no address; the answer to the client has no reason."""
    with running(CLOSED_PORT) as url:
        async with httpx.AsyncClient() as client:
            response = await client.get(url)
    assert "could not be reached: connection refused (ConnectError, OSError" in caplog.text
    assert "127.0.0.1" not in caplog.text
    assert "refused" not in response.text


async def test_any_other_failure_is_a_bad_gateway_without_its_text(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever httpx, h11 or idna stumble over: the type of it, in the answer and in the log."""

    async def failing(self: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        raise UnicodeError("a secret")

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", failing)
    with running(CLOSED_PORT) as url:
        answer = await raw_request(url, b"GET / HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 502")
    assert b"(UnicodeError)" in answer
    assert "UnicodeError" in caplog.text
    assert "secret" not in caplog.text + answer.decode()


async def test_gateway_that_is_its_own_upstream_stops_at_the_first_turn() -> None:
    """A request that comes back is recognised by `Via` and answered with 508."""
    recorder = Recorder()
    async with tcp(recorder) as upstream:
        with running(upstream) as url:
            async with httpx.AsyncClient() as client:
                await client.get(url)
                via = next(
                    line[5:].decode() for line in recorder.heads[0] if line.startswith(b"via: ")
                )
                response = await client.get(url, headers={"via": f"1.1 other, {via}"})
    assert response.status_code == 508
    assert len(recorder.heads) == 1


async def test_websocket_is_refused_before_the_handshake() -> None:
    """There is no WebSocket behind the gateway: 403, and the upstream hears nothing."""
    recorder = Recorder()
    async with tcp(recorder) as upstream:
        with running(upstream) as url:
            answer = await raw_request(
                url,
                b"GET /v1/realtime HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\n"
                b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            )
    assert answer.startswith(b"HTTP/1.1 403")
    assert recorder.heads == []


async def test_handshake_is_refused_by_a_server_without_websockets_as_well() -> None:
    """Such a server hands it on as a GET, which the upstream must not get for one."""
    recorder = Recorder()
    async with tcp(recorder) as upstream:
        gateway = Gateway(upstream)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(gateway), base_url="http://g"
        ) as client:
            response = await client.get(
                "/v1/realtime", headers={"connection": "Upgrade", "upgrade": "h2c, WebSocket"}
            )
        await gateway.aclose()
    assert response.status_code == 403
    assert "WebSockets are not forwarded" in response.json()["error"]["message"]
    assert recorder.heads == []


@pytest.mark.parametrize(
    "upstream",
    [
        "localhost:8080",
        "ftp://host",
        "https://",
        "http://[::1",
        "http://user:pass@host",
        "http://h/?q",
    ],
)
def test_upstream_that_cannot_work_is_an_error_that_repeats_no_secret(upstream: str) -> None:
    """Only http(s) URLs without user, query and fragment; what was given is not repeated."""
    with pytest.raises(ConfigurationError, match=r"^upstream ") as caught:
        Gateway(upstream)
    assert "pass@" not in str(caught.value)


@pytest.mark.parametrize("name", ["connect_timeout_seconds", "read_timeout_seconds"])
def test_timeout_without_time_is_an_error_that_names_the_option(name: str) -> None:
    """Zero and less leave no time to answer."""
    with pytest.raises(ConfigurationError, match=f"^{name}=0"):
        Gateway("http://host", **{name: 0.0})


names = st.sampled_from(
    [b"connection", b"Keep-Alive", b"TE", b"upgrade", b"x-a", b"X-B", b"via", b"Content-Type"]
)


@given(
    st.lists(
        st.tuples(
            names, st.sampled_from([b"close", b"x-a", b"X-B , close", b"Content-Type", b"1", b""])
        )
    ),
)
def test_end_to_end_headers_are_kept_in_order_and_the_others_dropped(
    headers: list[tuple[bytes, bytes]],
) -> None:
    """What is left is a subsequence without hop-by-hop names and without nominated ones.

    What says how to read the body cannot be nominated away.
    """
    kept = _end_to_end(headers)
    nominated = {
        option.strip().lower()
        for name, value in headers
        if name.lower() == b"connection"
        for option in value.split(b",")
    }
    nominated = {name for name in nominated if not name.startswith(b"content-")}
    gone = nominated | {b"connection", b"keep-alive", b"te", b"upgrade"}
    assert kept == [(name, value) for name, value in headers if name.lower() not in gone]
