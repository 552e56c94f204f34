"""Real servers on loopback: any ASGI app on uvicorn in a thread, and a stand-in for an LLM."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import request_response
from starlette.types import ASGIApp

WORDS = ("Paris", " is", " the", " capital", ".")
ANSWER = "".join(WORDS)


class _Server(uvicorn.Server):
    """Says when it listens, instead of being asked again and again."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


@contextmanager
def serve(app: ASGIApp, *, root_path: str = "") -> Iterator[str]:
    """Run an app on uvicorn at an ephemeral port; yields its base URL without a last slash.

    HTTP on h11 and WebSocket on wsproto, both pure Python, so that every machine tests the same.
    """
    config = uvicorn.Config(
        app,
        http="h11",
        ws="wsproto",
        log_level="critical",
        access_log=False,
        root_path=root_path,
        timeout_graceful_shutdown=2,
    )
    server = _Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            if not server.listening.wait(timeout=20):
                raise RuntimeError("uvicorn did not start within 20 seconds")
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=20)


@dataclass
class Received:
    """One request as it reached the server."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def json(self) -> dict[str, object]:
        value = json.loads(self.body)
        if not isinstance(value, dict):
            raise TypeError(f"the body is a {type(value).__name__}, not an object")
        return value


@dataclass
class FakeLLM:
    """Answers OpenAI chat completions and Anthropic messages, streamed too, and keeps a diary.

    Anything else is counted; `/moved` redirects to `location`. A stream sends its first words and
    then waits for `more`, so that a test can tell a stream that is passed on from a collected one.
    """

    received: list[Received] = field(default_factory=list)
    more: threading.Event = field(default_factory=threading.Event)
    location: str = "/"

    def __post_init__(self) -> None:
        self.more.set()
        # Not behind a router: a proxy is asked for whole URLs, which no route would match.
        self.app: ASGIApp = request_response(self._answer)

    def reset(self) -> None:
        self.received.clear()
        self.more.set()

    async def _answer(self, request: Request) -> Response:
        body = await request.body()
        path: str = request.scope["path"]
        self.received.append(Received(request.method, path, request.headers.items(), body))
        if path == "/moved":
            return RedirectResponse(self.location, status_code=307)
        if path.endswith("/chat/completions"):
            return self._openai(stream=bool(json.loads(body).get("stream")))
        if path.endswith("/messages"):
            return self._anthropic(stream=bool(json.loads(body).get("stream")))
        return JSONResponse({"path": path, "bytes": len(body)})

    async def _paced(self, events: list[str], pause_after: int) -> AsyncIterator[str]:
        for number, event in enumerate(events):
            if number == pause_after:
                await asyncio.to_thread(self.more.wait, 10)
            yield event

    def _openai(self, *, stream: bool) -> Response:
        head = {"id": "chatcmpl-1", "created": 1, "model": "fake"}
        if not stream:
            message = {"role": "assistant", "content": ANSWER}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return JSONResponse({**head, "object": "chat.completion", "choices": [choice]})
        events = []
        for number, word in enumerate(WORDS):
            last = number == len(WORDS) - 1
            choice = {
                "index": 0,
                "delta": {"role": "assistant", "content": word},
                "finish_reason": "stop" if last else None,
            }
            data = {**head, "object": "chat.completion.chunk", "choices": [choice]}
            events.append(f"data: {json.dumps(data)}\n\n")
        events.append("data: [DONE]\n\n")
        return StreamingResponse(self._paced(events, 2), media_type="text/event-stream")

    def _anthropic(self, *, stream: bool) -> Response:
        message: dict[str, object] = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "fake",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }
        if not stream:
            content = [{"type": "text", "text": ANSWER}]
            return JSONResponse({**message, "content": content, "stop_reason": "end_turn"})
        block = {"type": "text", "text": ""}
        data: list[dict[str, object]] = [
            {"type": "message_start", "message": message},
            {"type": "content_block_start", "index": 0, "content_block": block},
            *(
                {
                    "type": "content_block_delta",
                    "index": 0,
                    "delta": {"type": "text_delta", "text": word},
                }
                for word in WORDS
            ),
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {"output_tokens": 5},
            },
            {"type": "message_stop"},
        ]
        events = [f"event: {item['type']}\ndata: {json.dumps(item)}\n\n" for item in data]
        return StreamingResponse(self._paced(events, 4), media_type="text/event-stream")
