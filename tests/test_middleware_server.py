"""GuardMiddleware under real servers, in front of real Starlette and FastAPI applications."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI, Request
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from bertguard import Guard, GuardMiddleware
from loopback import serve
from support import ATTACK, BENIGN, KeywordScorer


class Note(BaseModel):
    title: str
    text: str


@dataclass
class Diary:
    """What the applications saw, and the switch that lets a stream go on."""

    bodies: list[object] = field(default_factory=list)
    more: threading.Event = field(default_factory=threading.Event)
    disconnected: threading.Event = field(default_factory=threading.Event)


def fastapi_app(diary: Diary, file: Path) -> FastAPI:
    """One route for each way in which an application reads its request."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        app.state.guard = Guard(KeywordScorer())
        yield {"shared": "yes"}
        app.state.guard.close()

    app = FastAPI(lifespan=lifespan)
    app.add_middleware(GuardMiddleware, guard=lambda: app.state.guard)

    @app.post("/model")
    async def model(note: Note, request: Request) -> dict[str, object]:
        diary.bodies.append(note.text)
        return {"action": request.state.guard.action, "shared": request.state.shared}

    @app.post("/raw")
    async def raw(request: Request) -> dict[str, int]:
        body = await request.body()
        diary.bodies.append(body)
        return {"bytes": len(body)}

    @app.get("/search")
    async def search(q: str = "") -> dict[str, str]:
        diary.bodies.append(q)
        return {"q": q}

    @app.post("/sse")
    async def sse(request: Request) -> StreamingResponse:
        async def events() -> AsyncIterator[str]:
            yield "data: first\n\n"
            await asyncio.to_thread(diary.more.wait, 10)
            yield "data: second\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    @app.post("/wait")
    async def wait(request: Request) -> None:
        while not await request.is_disconnected():  # noqa: ASYNC110 - as applications do it
            await asyncio.sleep(0.01)
        diary.disconnected.set()

    @app.get("/file")
    async def download() -> FileResponse:
        return FileResponse(file)

    async def inner(request: Request) -> Response:
        data = await request.json()
        diary.bodies.append(data)
        return JSONResponse({"root_path": request.scope["root_path"]})

    async def form(request: Request) -> Response:
        async with request.form() as fields:
            diary.bodies.append(sorted(str(value) for value in fields.values()))
        return Response("ok")

    inner_app = Starlette(
        routes=[Route("/json", inner, methods=["POST"]), Route("/form", form, methods=["POST"])]
    )
    app.mount("/inner", inner_app)
    return app


@pytest.fixture(scope="module")
def diary() -> Diary:
    return Diary()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "data.bin"
    path.write_bytes(bytes(range(256)) * 1024)
    return path


@pytest.fixture(scope="module")
def url(diary: Diary, file: Path) -> Iterator[str]:
    with serve(fastapi_app(diary, file)) as url:
        yield url


@pytest.fixture
def client(url: str, diary: Diary) -> Iterator[httpx.Client]:
    diary.bodies.clear()
    diary.more.clear()
    diary.disconnected.clear()
    with httpx.Client(base_url=url, timeout=10) as client:
        yield client


# -- every way of reading --------------------------------------------------------------------------


def test_a_fastapi_model_body_is_guarded(client: httpx.Client, diary: Diary) -> None:
    """A benign model arrives with verdict and lifespan state; an attack in any field does not."""
    fine = client.post("/model", json={"title": "hi", "text": BENIGN})
    assert fine.json() == {"action": "allow", "shared": "yes"}
    assert client.post("/model", json={"title": ATTACK, "text": BENIGN}).status_code == 400
    assert diary.bodies == [BENIGN]


def test_an_application_mounted_behind_the_guard_is_guarded(
    client: httpx.Client, diary: Diary
) -> None:
    """Starlette's `request.json()` under a mount sees only what was scored."""
    assert client.post("/inner/json", json=[BENIGN]).json() == {"root_path": "/inner"}
    assert client.post("/inner/json", json=[{"deep": [ATTACK]}]).status_code == 400
    assert diary.bodies == [[BENIGN]]


def test_forms_are_guarded(client: httpx.Client, diary: Diary) -> None:
    """URL-encoded and multipart fields are read by the guard as `request.form()` reads them."""
    pytest.importorskip("python_multipart", reason="Starlette needs it to read forms")
    for text in (ATTACK, BENIGN):
        client.post("/inner/form", data={"a": "b", "c": text})
        client.post("/inner/form", data={"a": "b"}, files={"f": (None, text)})
    assert diary.bodies == [sorted(["b", BENIGN])] * 2


def test_query_strings_are_guarded(client: httpx.Client, diary: Diary) -> None:
    """A GET passes with a harmless query and is refused with an attack in it."""
    assert client.get("/search", params={"q": BENIGN}).json() == {"q": BENIGN}
    assert client.get("/search", params={"q": ATTACK}).status_code == 400
    assert client.get("/search").status_code == 200
    assert diary.bodies == [BENIGN, ""]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32", "utf-8-sig"])
def test_no_charset_is_a_way_around(client: httpx.Client, diary: Diary, encoding: str) -> None:
    """Python's JSON reader detects UTF-16 and UTF-32, so an attack in them must not pass either."""
    body = json.dumps([ATTACK]).encode(encoding)
    assert client.post("/inner/json", content=body).status_code == 400
    assert diary.bodies == []


# -- bytes on a real wire --------------------------------------------------------------------------


def talk(url: str, *pieces: bytes, until: bytes) -> bytes:
    """Write pieces to a socket, one packet each, and read until the answer holds `until`."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
        answer = b""
        while until not in answer:
            more = connection.recv(65536)
            if not more:
                break
            answer += more
        return answer


def post(body: bytes, path: str = "/raw", headers: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


def test_a_chunked_upload_without_a_length_is_guarded(client: httpx.Client, diary: Diary) -> None:
    """Chunks may cut the attack anywhere; a benign upload arrives whole."""

    def pieces(text: str) -> Iterator[bytes]:
        for byte in json.dumps([text]).encode():
            yield bytes([byte])

    assert client.post("/raw", content=pieces(ATTACK)).status_code == 400
    assert client.post("/raw", content=pieces(BENIGN)).status_code == 200
    assert diary.bodies == [json.dumps([BENIGN]).encode()]


def test_expect_100_continue_works(url: str, client: httpx.Client, diary: Diary) -> None:
    """Reading the body makes the server send `100 Continue`; the answer follows."""
    body = json.dumps([BENIGN]).encode()
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        request = post(body, headers="expect: 100-continue\r\nconnection: close\r\n")
        connection.sendall(request[: -len(body)])
        assert connection.recv(65536).startswith(b"HTTP/1.1 100")
        connection.sendall(body)
        answer = b""
        while more := connection.recv(65536):
            answer += more
    assert answer.startswith(b"HTTP/1.1 200")
    assert diary.bodies == [body]


def test_pipelined_requests_are_judged_one_by_one(
    url: str, client: httpx.Client, diary: Diary
) -> None:
    """An attack between two benign requests on one connection is refused, alone and in order."""
    one, two = json.dumps([BENIGN]).encode(), json.dumps([BENIGN + "?"]).encode()
    attack = json.dumps([ATTACK]).encode()
    pipeline = post(one) + post(attack) + post(two, headers="connection: close\r\n")
    answer = talk(url, pipeline[:130], pipeline[130:], until=b"\x00never")
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"400", b"200"]
    assert diary.bodies == [one, two]


def test_a_client_that_hangs_up_half_way_does_no_harm(
    url: str, client: httpx.Client, diary: Diary
) -> None:
    """The application never hears of it, and the server goes on serving."""
    talk(url, post(b"[" + b" " * 5000)[:500], until=b"")
    assert client.post("/raw", json=[BENIGN]).status_code == 200
    assert len(diary.bodies) == 1


# -- responses -------------------------------------------------------------------------------------


def test_a_stream_is_not_buffered(client: httpx.Client, diary: Diary) -> None:
    """The first event arrives while the application still holds the second one back."""
    with client.stream("POST", "/sse", json=[BENIGN]) as response:
        parts = response.iter_text()
        assert next(parts) == "data: first\n\n"
        diary.more.set()
        assert "".join(parts) == "data: second\n\n"


def test_the_application_still_hears_that_its_client_has_left(
    url: str, client: httpx.Client, diary: Diary
) -> None:
    """After the body `receive` is the server's own: `http.disconnect` comes through."""
    talk(url, post(b"[]", path="/wait"), until=b"")
    assert diary.disconnected.wait(timeout=10)


def test_files_pass_whole_and_in_ranges(client: httpx.Client, file: Path) -> None:
    """File responses keep their length, their ranges and their bytes."""
    whole = client.get("/file")
    part = client.get("/file", headers={"range": "bytes=10-19"})
    assert (whole.status_code, whole.content) == (200, file.read_bytes())
    assert (part.status_code, part.content) == (206, file.read_bytes()[10:20])


def test_head_and_not_found_pass(client: httpx.Client) -> None:
    """What the application answers to requests with nothing to read is its own business."""
    assert client.head("/search").status_code == 405
    assert client.get("/nowhere").status_code == 404


def test_a_refused_connection_can_be_used_again(client: httpx.Client, diary: Diary) -> None:
    """Keep-alive survives a refusal, one after a body over the cap included."""
    assert client.post("/raw", json=[ATTACK]).status_code == 400
    assert client.post("/raw", content=b" " * (4 * 1024 * 1024 + 1)).status_code == 413
    assert client.post("/raw", json=[BENIGN]).status_code == 200
    assert len(diary.bodies) == 1


# -- another server --------------------------------------------------------------------------------


@contextmanager
def serve_hypercorn(app: ASGIApp) -> Iterator[str]:
    """Run an app on hypercorn, which speaks HTTP/2 in the clear to a client that begins so."""
    pytest.importorskip("hypercorn", reason="the second server is optional")
    from hypercorn.asyncio import serve as run
    from hypercorn.config import Config

    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    port = listener.getsockname()[1]
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]  # hypercorn closes it
    config.loglevel = "CRITICAL"
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def work() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(run(app, config, shutdown_trigger=stop.wait))  # type: ignore[arg-type]

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(timeout=20)


def test_http_2_under_hypercorn(file: Path) -> None:
    """Over HTTP/2, where a body needs no Content-Length: streams are judged each by itself."""
    diary = Diary()
    with (
        serve_hypercorn(fastapi_app(diary, file)) as url,
        httpx.Client(base_url=url, http1=False, http2=True, timeout=10) as client,
    ):
        fine = client.post("/inner/json", json=[BENIGN])
        refused = client.request("GET", "/search", content=iter([json.dumps([ATTACK]).encode()]))
        with client.stream("POST", "/sse", json=[BENIGN]) as response:
            parts = response.iter_text()
            assert next(parts) == "data: first\n\n"
            diary.more.set()
            assert "".join(parts) == "data: second\n\n"
    assert (fine.http_version, fine.status_code) == ("HTTP/2", 200)
    assert (refused.http_version, refused.status_code) == ("HTTP/2", 400)
    assert diary.bodies == [[BENIGN]]


def test_a_guarded_application_can_itself_be_mounted(diary: Diary) -> None:
    """Under a mount and a server's root path the guard reads all the same."""
    diary.bodies.clear()

    async def note(request: Request) -> Response:
        diary.bodies.append(await request.json())
        return Response(request.scope["root_path"])

    with Guard(KeywordScorer()) as guard:
        inner = Starlette(routes=[Route("/note", note, methods=["POST"])])
        outer = Starlette(routes=[Mount("/sub", GuardMiddleware(inner, guard))])
        with (
            serve(outer, root_path="/api") as url,
            httpx.Client(base_url=url, timeout=10) as client,
        ):
            fine = client.post("/sub/note", json=BENIGN)
            refused = client.post("/sub/note", json=ATTACK)
    assert (fine.status_code, fine.text, refused.status_code) == (200, "/api/sub", 400)
    assert diary.bodies == [BENIGN]
