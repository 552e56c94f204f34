"""GuardMiddleware's policies per route: a spelling of a path never gets a milder one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.websockets import WebSocket

from bertguard import Action, Channel, Guard, GuardMiddleware, Policy, Thresholds
from bertguard.errors import ConfigurationError
from bertguard.middleware.exemptions import plainly_spelled
from bertguard.middleware.policies import RoutePolicies
from rawasgi import Exchange, Notes, chat, exchange, http_scope
from support import ATTACK, BENIGN, KeywordScorer

# The keyword scorer says 0.99 for an attack and 0.01 for anything else.
MILD = Policy(thresholds={channel: Thresholds(0.995, 1.0) for channel in Channel})
STRICT = Policy(thresholds={channel: Thresholds(0.0, 0.0) for channel in Channel})
SHADOW = Policy(mode="shadow")
ROUTES = {"/mild": MILD, "/mild/*": MILD, "/strict": STRICT, "/strict/deep/*": STRICT}


@pytest.fixture(scope="module")
def guard() -> Iterator[Guard]:
    with Guard(KeywordScorer()) as guard:
        yield guard


async def ask(
    guard: Guard,
    target: str,
    text: str = BENIGN,
    routes: Mapping[str, Policy] = ROUTES,
    **more: object,
) -> Exchange:
    """Post one prompt to a request target, spelled as on the wire."""
    scope = http_scope(unquote(target), **{"raw_path": target.encode("ascii"), **more})  # type: ignore[arg-type]
    return await exchange(GuardMiddleware(Notes(), guard, routes=routes), scope, [chat(text)])


@pytest.mark.parametrize(
    ("target", "text", "status"),
    [
        ("/mild", ATTACK, 200),
        ("/mild/", ATTACK, 200),
        ("/mild/a", ATTACK, 200),
        ("/other", ATTACK, 400),
        ("/other", BENIGN, 200),
        ("/strict", BENIGN, 400),
        ("/strict/deep/a", BENIGN, 400),
        ("/strict/a", BENIGN, 200),
    ],
)
async def test_a_route_has_its_own_policy(
    guard: Guard, target: str, text: str, status: int
) -> None:
    """In its plain spelling, and no other route has it."""
    assert (await ask(guard, target, text)).status == status


@pytest.mark.parametrize(
    "target",
    [
        "/MILD",
        "/Mild/a",
        "//mild",
        "/mild//a",
        "/%6dild",
        "/mild/../other",
        "/mild/..%2fother",
        "/mild%2fa",
        "/mild/%2e%2e/other",
        "/mild;a",
        "/mild/a;b",
        "/mild%3fx",
        "/mild\\a",
        "/mildly",
    ],
)
async def test_no_spelling_gets_a_milder_policy(guard: Guard, target: str) -> None:
    """What is not the plain path of the route has to satisfy the guard's own policy."""
    assert (await ask(guard, target, ATTACK)).status == 400


@pytest.mark.parametrize(
    "target",
    [
        "/STRICT",
        "/Strict/",
        "/strict/",
        "//strict",
        "/%73trict",
        "/other/../strict",
        "/other/..%2fstrict",
        "/strict;a",
        "/strict/deep//a",
        "/strict/Deep/a",
        "/strict/deep",
        "/mild/../strict",
        "/mild/%2e%2e/strict",
    ],
)
async def test_no_spelling_escapes_a_stricter_policy(guard: Guard, target: str) -> None:
    """What could mean the route to some router has to satisfy the route's policy as well."""
    assert (await ask(guard, target, BENIGN)).status == 400


async def test_the_most_particular_route_counts(guard: Guard) -> None:
    """A path before everything below, the longer before the shorter, one method before all."""
    routes = {
        "/*": STRICT,
        "/a/*": MILD,
        "/a/b/*": STRICT,
        "/a/b/c": MILD,
        "POST /a/b/d": MILD,
        "/a/b/d": STRICT,
    }
    for target, status in (
        ("/x", 400),
        ("/a/x", 200),
        ("/a/b/x", 400),
        ("/a/b/c", 200),
        ("/a/b/d", 200),
    ):
        assert (await ask(guard, target, BENIGN, routes)).status == status, target
    assert (await ask(guard, "/a/b/d", BENIGN, routes, method="PUT")).status == 400


async def test_a_method_cannot_escape_the_policy_of_another(guard: Guard) -> None:
    """HEAD is answered by what answers GET, so the policy of `GET /x` counts for it, too."""
    routes = {"GET /x": STRICT, "GET /y": MILD}
    for method in ("GET", "HEAD", "get"):
        assert (await ask(guard, "/x", BENIGN, routes, method=method)).status == 400
    assert (await ask(guard, "/y", ATTACK, routes, method="GET")).status == 200
    assert (await ask(guard, "/y", ATTACK, routes, method="POST")).status == 400


async def test_routes_are_relative_to_the_application(guard: Guard) -> None:
    """Under a root path the router sees the rest, and so do the policies."""
    assert (await ask(guard, "/api/mild", ATTACK, root_path="/api")).status == 200
    assert (await ask(guard, "/api/mild", ATTACK)).status == 400


async def test_shadow_mode_may_be_of_one_route(guard: Guard) -> None:
    """There the action is a report; an odd spelling of the route is still refused."""
    routes = {"/new": SHADOW}
    reported = await ask(guard, "/new", ATTACK, routes)
    assert (reported.status, reported.headers["x-guard-mode"]) == (200, "shadow")
    assert (await ask(guard, "/NEW", ATTACK, routes)).status == 400
    capped = GuardMiddleware(Notes(), guard, routes=routes, max_body_bytes=10)
    for path, status in (("/new", 200), ("/New", 413), ("/old", 413)):
        answer = await exchange(capped, http_scope(path), [chat(ATTACK)])
        assert answer.status == status


async def test_a_remembered_text_is_judged_by_the_policy_of_its_route(guard: Guard) -> None:
    """What one policy let pass is no reason for another to."""
    for _ in range(2):
        assert (await ask(guard, "/mild", ATTACK)).status == 200
        assert (await ask(guard, "/other", ATTACK)).status == 400
        assert (await ask(guard, "/other", BENIGN)).status == 200
        assert (await ask(guard, "/strict", BENIGN)).status == 400


async def test_what_is_embedded_can_be_left_unscored_on_its_route() -> None:
    """Only the input of that endpoint; the verdict notes it."""
    routes = {"/v1/embeddings": Policy(trusted_roles=["embedding"])}
    app = Notes()
    with Guard(KeywordScorer()) as guard:
        guarded = GuardMiddleware(app, guard, routes=routes)
        for path, body, status in (
            ("/v1/embeddings", {"input": ATTACK}, 200),
            ("/v1/embeddings", {"input": BENIGN, "messages": [{"content": ATTACK}]}, 400),
            ("/v1/moderations", {"input": ATTACK}, 400),
            ("/v1/Embeddings", {"input": ATTACK}, 400),
        ):
            answer = await exchange(guarded, http_scope(path), [json.dumps(body).encode()])
            assert answer.status == status, path
    verdict = app.scopes[0]["state"]["guard"]
    assert verdict.notes == ("unscored_embedding at /input",)
    assert verdict.total_chars == 0


async def test_routes_need_no_loaded_guard() -> None:
    """A guard that is loaded later gets the policies then."""
    with Guard(KeywordScorer()) as guard:
        late = GuardMiddleware(Notes(), lambda: guard, routes=ROUTES)
        for path, text, status in (("/mild", ATTACK, 200), ("/strict", BENIGN, 400)):
            answer = await exchange(late, http_scope(path), [chat(text)])
            assert answer.status == status


@pytest.mark.parametrize(("path", "closed"), [("/mild", False), ("/other", True), ("/Mild", True)])
async def test_frames_follow_the_policy_of_the_route(guard: Guard, path: str, closed: bool) -> None:
    """Text frames by its thresholds, binary frames by its `on_unscanned`."""
    routes = {"/mild": Policy(thresholds=MILD.thresholds, on_unscanned="allow")}
    for frame in ({"text": ATTACK}, {"bytes": b"\x00\x01"}):
        sent: list[str] = []
        waiting: list[dict[str, object]] = [
            {"type": "websocket.connect"},
            {"type": "websocket.receive", **frame},
        ]

        async def app(scope: object, receive: object, send: object) -> None:
            socket = WebSocket(scope, receive, send)  # type: ignore[arg-type]
            await socket.accept()
            sent.append((await socket.receive())["type"])  # noqa: B023 - read at once

        async def receive() -> dict[str, object]:
            return waiting.pop(0)  # noqa: B023 - read at once

        async def send(message: object) -> None: ...

        scope = {"type": "websocket", "path": path, "headers": [], "query_string": b""}
        await GuardMiddleware(app, guard, routes=routes)(scope, receive, send)
        assert sent == ["websocket.disconnect" if closed else "websocket.receive"]


@given(
    text=st.text(max_size=6), before=st.sampled_from(["", "/", "/mild", "/mild/", "/strict", "/MI"])
)
def test_a_policy_alone_counts_only_for_paths_that_mean_one_thing(text: str, before: str) -> None:
    """Whatever has one policy that is not the guard's is listed, in its canonical spelling."""
    target = before + quote(text, safe="/%.;\\", errors="replace")
    scope = http_scope(unquote(target), raw_path=target.encode("ascii"))
    chosen = RoutePolicies(ROUTES).choose(scope)
    path = scope["path"]
    if chosen == [MILD]:
        assert path == "/mild" or path.startswith("/mild/")
        assert plainly_spelled(scope)
    elif chosen != [STRICT]:
        assert chosen[0] is None
        assert (STRICT in chosen) or path.casefold().rstrip("/") != "/strict"


def test_the_application_is_asked_by_one_policy_where_none_is_listed() -> None:
    """Without routes nothing changes, and one guard is asked."""
    assert RoutePolicies({}).choose(http_scope("/a//b")) == [None]
    assert RoutePolicies(ROUTES).choose(http_scope("/v1/chat/completions")) == [None]


@pytest.mark.parametrize(
    ("routes", "message"),
    [
        ({"healthz": MILD}, "can never match"),
        ({"/a//b": MILD}, "can never match"),
        ({"/a*": MILD}, "can never match"),
        ({"get /a": MILD}, "can never match"),
        ({"/a": "shadow"}, r"routes\['/a'\] is a str; use a Policy"),
    ],
)
def test_routes_that_cannot_work_are_refused(
    guard: Guard, routes: Mapping[str, Policy], message: str
) -> None:
    """An entry that never matches is an error when the app is built."""
    with pytest.raises(ConfigurationError, match=message):
        GuardMiddleware(Notes(), guard, routes=routes)


def test_a_wrapped_guard_without_policies_is_refused() -> None:
    """What has no `with_policy` cannot have routes."""

    class Wrapper:
        async def check_body(self) -> None: ...

    wrapper: Guard = Wrapper()  # type: ignore[assignment]
    GuardMiddleware(Starlette(), wrapper)
    with pytest.raises(ConfigurationError, match="a Wrapper has none; use a Guard"):
        GuardMiddleware(Starlette(), wrapper, routes=ROUTES)


async def test_the_verdict_of_an_odd_spelling_is_the_most_severe(guard: Guard) -> None:
    """Where nobody blocks, what is flagged by one is flagged."""
    flags = Policy(thresholds={channel: Thresholds(0.0, 1.0) for channel in Channel})
    app = Notes()
    guarded = GuardMiddleware(app, guard, routes={"/x": flags})
    for path, action in (("/x", Action.FLAG), ("/X", Action.FLAG), ("/y", Action.ALLOW)):
        await exchange(guarded, http_scope(path), [chat(BENIGN)])
        assert app.scopes[-1]["state"]["guard"].action is action
