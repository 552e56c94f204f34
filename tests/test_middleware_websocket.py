"""GuardMiddleware over WebSocket: handshake, text frames, binary frames, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import httpx2
import pytest
import wsproto.events
from httpx2.websockets import WebSocketDisconnect, WebSocketUpgradeError
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from bertguard import Action, Channel, Guard, GuardMiddleware, Policy, Thresholds
from bertguard.scoring import Window
from loopback import serve
from support import ATTACK, BENIGN, KeywordScorer


class Talk:
    """A WebSocket application that notes what it hears and answers with the verdict's action."""

    def __init__(self) -> None:
        self.heard: list[str | bytes] = []
        self.closed_with: int | None = None
        self.ended = threading.Event()
        self.app = Starlette(routes=[WebSocketRoute("/ws", self.talk)])

    async def talk(self, websocket: WebSocket) -> None:
        await websocket.accept()
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                self.closed_with = message["code"]
                self.ended.set()
                return
            self.heard.append(message.get("text") or message.get("bytes") or "")
            await websocket.send_text(websocket.state.guard.action.value)


Connected = tuple[Talk, httpx2.Client]


@contextlib.contextmanager
def connection(policy: Policy | None = None, **options: int | bool) -> Iterator[Connected]:
    talk = Talk()
    with Guard(KeywordScorer(), policy=policy) as guard:
        guarded = GuardMiddleware(talk.app, guard, **options)  # type: ignore[arg-type]
        with (
            serve(guarded) as url,
            httpx2.Client(base_url=url.replace("http", "ws"), timeout=10) as client,
        ):
            yield talk, client


@pytest.fixture(scope="module")
def enforcing() -> Iterator[Connected]:
    with connection(max_body_bytes=1000) as connected:
        yield connected


@pytest.fixture
def connected(enforcing: Connected) -> Connected:
    talk, client = enforcing
    talk.heard.clear()
    talk.closed_with = None
    talk.ended.clear()
    return talk, client


# -- on a real wire --------------------------------------------------------------------------------


def escaped(text: str) -> str:
    """JSON that shows its text to nobody but a JSON reader."""
    letters = "".join(f"\\u{ord(letter):04x}" for letter in text)
    return f'{{"item": {{"text": "{letters}"}}}}'


@pytest.mark.parametrize(
    "wrap",
    [str, lambda text: json.dumps({"item": {"text": text}}), escaped],
    ids=["plain", "json", "escaped"],
)
def test_text_frames_are_judged_one_by_one(
    connected: Connected, wrap: Callable[[str], str]
) -> None:
    """Benign frames arrive, plain or JSON; the attack closes with 1008 and is never heard."""
    talk, client = connected
    with client.websocket("/ws") as ws:
        ws.send_text(wrap(BENIGN))
        assert ws.receive_text(timeout=10) == "allow"
        ws.send_text(wrap(ATTACK))
        with pytest.raises(WebSocketDisconnect) as caught:
            ws.receive_text(timeout=10)
    assert caught.value.code == 1008
    assert talk.ended.wait(timeout=10)
    assert talk.heard == [wrap(BENIGN)]
    assert talk.closed_with == 1008


def test_a_fragmented_message_is_one_message(connected: Connected) -> None:
    """An attack cut over three frames of one message is seen whole."""
    talk, client = connected
    with client.websocket("/ws") as ws:
        for piece in (BENIGN[:5], BENIGN[5:]):
            last = piece == BENIGN[5:]
            ws.send(wsproto.events.TextMessage(data=piece, message_finished=last))
        assert ws.receive_text(timeout=10) == "allow"
        for start in (0, 10, 20):
            piece = ATTACK[start : start + 10] if start < 20 else ATTACK[start:]
            ws.send(wsproto.events.TextMessage(data=piece, message_finished=start == 20))
        with pytest.raises(WebSocketDisconnect) as caught:
            ws.receive_text(timeout=10)
    assert caught.value.code == 1008
    assert talk.heard == [BENIGN]


def test_the_query_string_of_the_handshake_is_judged(connected: Connected) -> None:
    """An attack there is refused before the application hears of the connection."""
    talk, client = connected
    with (
        pytest.raises(WebSocketUpgradeError) as caught,
        client.websocket("/ws", params={"topic": ATTACK}),
    ):
        pass
    assert caught.value.response.status_code == 403
    with client.websocket("/ws", params={"topic": BENIGN}) as ws:
        ws.send_text(BENIGN)
        assert ws.receive_text(timeout=10) == "allow"
    assert talk.heard == [BENIGN]


def test_a_message_over_the_cap_closes_with_1009(connected: Connected) -> None:
    """`max_body_bytes` bounds a message, counted in bytes and not in characters."""
    talk, client = connected
    with client.websocket("/ws") as ws:
        ws.send_text("é" * 501)
        with pytest.raises(WebSocketDisconnect) as caught:
            ws.receive_text(timeout=10)
    assert caught.value.code == 1009
    assert talk.heard == []


def test_binary_frames_are_refused_where_unscanned_is(connected: Connected) -> None:
    """No classifier of texts can read them, so the default policy closes with 1008."""
    talk, client = connected
    with client.websocket("/ws") as ws:
        ws.send_bytes(b"\x00\x01")
        with pytest.raises(WebSocketDisconnect) as caught:
            ws.receive_text(timeout=10)
    assert caught.value.code == 1008
    assert talk.heard == []


@pytest.mark.parametrize("action", ["flag", "allow"])
def test_binary_frames_follow_on_unscanned(action: str) -> None:
    """Where the operator lets unscanned content pass they arrive, and the state says how."""
    with connection(Policy(on_unscanned=action)) as (talk, client):  # type: ignore[arg-type]
        with client.websocket("/ws") as ws:
            ws.send_bytes(b"\x00\x01")
            assert ws.receive_text(timeout=10) == action
            ws.send_text(ATTACK)
            with pytest.raises(WebSocketDisconnect):
                ws.receive_text(timeout=10)
        assert talk.heard == [b"\x00\x01"]


def test_flagged_and_shadowed_frames_pass() -> None:
    """The application reads the verdict from its state, frame by frame."""
    flags = Policy(thresholds={channel: Thresholds(0.5, 1.0) for channel in Channel})
    for policy, action in ((flags, "flag"), (Policy(mode="shadow"), "block")):
        with connection(policy) as (talk, client), client.websocket("/ws") as ws:
            for text, expected in ((ATTACK, action), (BENIGN, "allow")):
                ws.send_text(text)
                assert ws.receive_text(timeout=10) == expected
            assert talk.heard == [ATTACK, BENIGN]


# -- by hand ---------------------------------------------------------------------------------------


class Line:
    """The server's end of a connection: messages to deliver, and what the application sent."""

    def __init__(self, *messages: Message) -> None:
        self.incoming: asyncio.Queue[Message] = asyncio.Queue()
        for message in ({"type": "websocket.connect"}, *messages):
            self.incoming.put_nowait(message)
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        return await self.incoming.get()

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def run(self, app: ASGIApp, **scope: object) -> None:
        base: Scope = {"type": "websocket", "path": "/ws", "headers": [], "query_string": b""}
        await app({**base, **scope}, self.receive, self.send)


def text(value: str) -> Message:
    return {"type": "websocket.receive", "text": value, "bytes": None}


async def test_a_message_is_not_lost_when_the_application_gives_up_waiting() -> None:
    """A heartbeat's timeout may fall into the scoring; the message comes at the next receive."""
    go = threading.Event()

    class Slow(KeywordScorer):
        def score(self, windows: Sequence[Window]) -> Sequence[float]:
            go.wait(timeout=10)
            return super().score(windows)

    heard: list[Message] = []
    timeouts = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal timeouts
        await receive()
        while len(heard) < 2:
            try:
                heard.append(await asyncio.wait_for(receive(), timeout=0.02))
            except TimeoutError:
                timeouts += 1
                if timeouts == 2:
                    go.set()

    with Guard(Slow()) as guard:
        await Line(text(BENIGN), text("two")).run(GuardMiddleware(app, guard))
    assert timeouts >= 2
    assert [message["text"] for message in heard] == [BENIGN, "two"]


async def test_each_who_waits_gets_a_message_of_his_own() -> None:
    """An application may ask again while an earlier question of its own still waits."""
    heard: list[list[str]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        waiting = [asyncio.ensure_future(receive()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[1].cancel()
        answers = await asyncio.gather(waiting[0], waiting[2], receive())
        heard.append([message["text"] for message in answers])

    with Guard(KeywordScorer()) as guard:
        await Line(text("one"), text("two"), text("three")).run(GuardMiddleware(app, guard))
    assert heard == [["one", "two", "three"]]


async def test_after_a_refusal_the_application_can_send_nothing_more() -> None:
    """`send` raises an OSError, as ASGI wants it after the end; one close frame is sent."""
    errors: list[BaseException] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        message = await receive()
        while message["type"] != "websocket.disconnect":
            message = await receive()
        assert (await receive())["type"] == "websocket.disconnect"
        try:
            await send({"type": "websocket.send", "text": "late"})
        except OSError as error:
            errors.append(error)
        await send({"type": "websocket.close", "code": 1000})

    line = Line(text(ATTACK))
    with Guard(KeywordScorer()) as guard:
        await line.run(GuardMiddleware(app, guard))
    assert [message["type"] for message in line.sent] == ["websocket.accept", "websocket.close"]
    assert line.sent[1]["code"] == 1008
    assert len(errors) == 1


async def test_a_guard_that_fails_closes_with_1011() -> None:
    """An unexpected error is not a pass: the connection ends as an internal error."""

    def no_guard() -> Guard:
        raise OSError("no checkpoint")

    heard: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        heard.append((await receive())["type"])

    for message in (text(BENIGN), {"type": "websocket.receive", "bytes": b"\x00"}):
        line = Line(message)
        await line.run(GuardMiddleware(app, no_guard))
        assert line.sent == [
            {
                "type": "websocket.close",
                "code": 1011,
                "reason": "the prompt guard is not available",
            }
        ]
    assert heard == ["websocket.disconnect"] * 2


@pytest.mark.parametrize(("mode", "codes"), [("shadow", []), ("enforce", [1009])])
async def test_a_message_over_the_cap_loads_the_guard_to_learn_its_policy(
    mode: Literal["shadow", "enforce"], codes: list[int]
) -> None:
    """Also where it is the first to ask: a trial must not end a connection."""
    heard: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        heard.append((await receive())["type"])

    line = Line(text(BENIGN))
    with Guard(KeywordScorer(), policy=Policy(mode=mode)) as guard:
        await line.run(GuardMiddleware(app, lambda: guard, max_body_bytes=10))
    assert [message["code"] for message in line.sent] == codes
    assert heard == ["websocket.disconnect" if codes else "websocket.receive"]


async def test_an_application_that_ends_early_leaves_no_task() -> None:
    """A receive that nobody waits for any more is cancelled with the connection."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(receive(), timeout=0.01)

    before = asyncio.all_tasks()
    with Guard(KeywordScorer()) as guard:
        await Line().run(GuardMiddleware(app, guard))
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("options", [{"websocket": False}, {"exempt": ["/ws"]}])
async def test_connections_can_be_left_unread(options: dict[str, Any]) -> None:
    """All of them or by path: the application gets the server's receive; the state says so."""
    seen: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend((receive, scope["headers"], scope["state"]["guard"].unscanned))

    line = Line()
    with Guard(KeywordScorer()) as guard:
        guarded = GuardMiddleware(app, guard, **options)
        await line.run(guarded, headers=[(b"x-guard-action", b"allow"), (b"host", b"x")])
    assert seen == [line.receive, [(b"host", b"x")], ("exempt",)]


@pytest.mark.parametrize("kind", ["websocket.accept", "websocket.http.response.start"])
@pytest.mark.parametrize("options", [{}, {"websocket": False}, {"exempt": ["/ws"]}])
async def test_an_answer_to_the_handshake_reports_nothing(
    kind: str, options: dict[str, Any]
) -> None:
    """`x-guard-*` of the application's own is taken away, also where nobody reads the messages."""
    own = [(b"X-Guard-Action", b"allow"), (b"x_guard_score", b"0"), (b"x-guardian", b"kept")]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": kind, "headers": own})
        await send({"type": "websocket.send", "text": "x-guard-action"})

    line = Line()
    with Guard(KeywordScorer()) as guard:
        await line.run(GuardMiddleware(app, guard, **options))
    assert line.sent[0] == {"type": kind, "headers": [(b"x-guardian", b"kept")]}
    assert line.sent[1] == {"type": "websocket.send", "text": "x-guard-action"}


async def test_the_state_of_the_connection_is_its_own() -> None:
    """The verdict changes with each frame, beside what the server left in the state."""
    actions: list[Action] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(3):
            await receive()
            actions.append(scope["state"]["guard"].action)

    state = {"db": "pool"}
    with Guard(KeywordScorer(), policy=Policy(mode="shadow")) as guard:
        await Line(text(ATTACK), text("")).run(GuardMiddleware(app, guard), state=state)
    assert actions == [Action.ALLOW, Action.BLOCK, Action.ALLOW]
    assert state["db"] == "pool"
