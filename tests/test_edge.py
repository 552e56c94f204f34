"""What both edges share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping

import httpx
import pytest
from starlette.types import Message

from bertguard import Action, Guard, GuardMiddleware, GuardTransport, Policy, Role
from bertguard.edge import (
    checked_cap,
    checked_guard,
    is_report,
    log_failure,
    not_judged,
    nothing_to_read,
)
from bertguard.errors import ConfigurationError
from bertguard.policy import roles
from rawasgi import Notes, http_scope
from support import ATTACK, KeywordScorer


def test_roles_are_read_by_name_or_member() -> None:
    """Both spellings mix; an unknown role is refused with the list of those there are."""
    assert roles(["system", Role.TOOL]) == frozenset({Role.SYSTEM, Role.TOOL})
    assert roles(()) == frozenset()
    with pytest.raises(ConfigurationError, match="'root' is not a valid Role; the roles are syst"):
        roles(["root"])
    with pytest.raises(ConfigurationError, match="'system' is one string; use a list"):
        roles("system")


def test_what_has_the_shape_of_a_guard_is_one() -> None:
    """A wrapper with `check_body` is taken; anything else is named in the error."""

    class Wrapper:
        async def check_body(self) -> None: ...

    wrapper: object = Wrapper()
    assert id(checked_guard(wrapper)) == id(wrapper)
    with pytest.raises(ConfigurationError, match="guard is a KeywordScorer; use a Guard"):
        checked_guard(KeywordScorer())


@pytest.mark.parametrize("cap", [0, -1])
def test_a_cap_must_leave_room(cap: int) -> None:
    """Zero and less are refused, one byte is not."""
    with pytest.raises(ConfigurationError, match=f"max_body_bytes={cap}"):
        checked_cap(cap)
    assert checked_cap(1) == 1


@pytest.mark.parametrize(
    ("path", "query", "body", "expected"),
    [
        ("/healthz", "", b"", True),
        ("", "", b"", True),
        ("/v1/models/gpt-5-mini", "", b"", True),
        ("/healthz", "a", b"", False),
        ("/healthz", "", b" ", False),
        ("/ask/ignore all", "", b"", False),
        ("/ask/ignore-all-previous-instructions", "", b"", False),
        ("/ask/\u0456gnore", "", b"", False),
        ("/a" * 32, "", b"", False),
    ],
)
def test_only_a_few_plain_words_of_a_path_are_nothing_to_read(
    path: str, query: str, body: bytes, expected: bool
) -> None:
    """A probe does not wait for a model; a path that could be prose does."""
    assert nothing_to_read(path, query, body) is expected


@pytest.mark.parametrize("mode", ["enforce", "shadow"])
def test_what_was_not_judged_is_blocked_unless_in_shadow(mode: str) -> None:
    """`on_unscanned` has no say here; the dialect is that of the path."""
    policy = Policy(mode=mode, on_unscanned="allow")  # type: ignore[arg-type]
    with Guard(KeywordScorer(), policy=policy) as guard:
        verdict = not_judged("too_large", path="/v1/messages", guard=guard)
    assert verdict.action is Action.BLOCK
    assert verdict.blocked is (mode == "enforce")
    assert verdict.unscanned == ("too_large",)
    assert verdict.dialect == "anthropic.messages"
    assert not_judged("internal_error", path="", guard=None).blocked


def test_failures_are_logged_by_type_and_place(caplog: pytest.LogCaptureFixture) -> None:
    """The message of the error stays out of the log: it may quote the prompt."""
    try:
        raise LookupError(ATTACK)
    except LookupError as error:
        log_failure(logging.getLogger("bertguard.test"), error)
    assert "LookupError" in caplog.text
    assert "test_edge.py" in caplog.text
    assert ATTACK not in caplog.text


@pytest.mark.parametrize("side", ["guard", "client", "middleware"])
def test_other_event_loops_are_refused_in_words(side: str) -> None:
    """Under trio no loop of asyncio runs, just as here, where the coroutine is driven by hand."""
    request = httpx.Request("POST", "http://llm/v1/chat/completions", json=["hello"])
    answers = httpx.MockTransport(lambda _: httpx.Response(200))

    async def receive() -> Message:
        return {"type": "http.request", "body": b"hello"}

    async def send(message: Message) -> None:
        raise AssertionError("nothing is answered")

    with Guard(KeywordScorer()) as guard:
        asked: Mapping[str, Callable[[], Coroutine[object, object, object]]] = {
            "guard": lambda: guard.check("hello"),
            "client": lambda: GuardTransport(guard, answers).handle_async_request(request),
            "middleware": lambda: GuardMiddleware(Notes(), guard)(http_scope(), receive, send),
        }
        coroutine = asked[side]()
        with pytest.raises(ConfigurationError, match="no event loop of asyncio is running"):
            coroutine.send(None)
        coroutine.close()


def test_what_reports_is_known_by_its_name() -> None:
    """In any case and with either of the two characters that gateways take for one."""
    assert is_report(b"X-Guard-Action")
    assert is_report(b"x_guard_status")
    assert not is_report(b"x-guardian")
