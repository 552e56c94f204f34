"""GuardMiddleware's exemptions: a spelling of a path is never a way out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette._utils import get_route_path

from bertguard import Guard, GuardMiddleware
from bertguard.errors import ConfigurationError
from bertguard.middleware.exemptions import Exemptions, route_path
from rawasgi import JSON, Notes, exchange, http_scope
from support import ATTACK, KeywordScorer

BODY = f'{{"messages": [{{"role": "user", "content": "{ATTACK}"}}]}}'.encode()
EXEMPT = ["/healthz", "/static/*"]


@pytest.fixture(scope="module")
def guard() -> Iterator[Guard]:
    with Guard(KeywordScorer()) as guard:
        yield guard


async def passes(guard: Guard, target: str, exempt: Sequence[str] = EXEMPT, **more: object) -> bool:
    """Whether an attack posted to a request target, spelled as on the wire, gets through."""
    app = Notes()
    raw = target.encode("ascii")
    scope = http_scope(unquote(target), **{"raw_path": raw, **more})  # type: ignore[arg-type]
    result = await exchange(GuardMiddleware(app, guard, exempt=exempt), scope, [BODY])
    assert (result.status == 200) is bool(app.scopes)
    return bool(app.scopes)


@pytest.mark.parametrize("target", ["/healthz", "/static/", "/static/a.js", "/static/a/b%20c"])
async def test_exempt_paths_pass_unread(guard: Guard, target: str) -> None:
    """Exact paths, and everything below a path that ends in `/*`."""
    assert await passes(guard, target)


async def test_an_exempt_request_is_passed_on_as_it_came(guard: Guard) -> None:
    """The application gets the server's own receive; the verdict says that nobody looked."""
    app = Notes()
    headers = [*JSON, (b"x-guard-action", b"allow")]
    scope = http_scope("/healthz", headers=headers)
    await exchange(GuardMiddleware(app, guard, exempt=EXEMPT), scope, [b"a", b"b"])
    assert [message["body"] for message in app.messages] == [b"a", b"b"]
    assert app.scopes[0]["headers"] == [*JSON]
    assert app.scopes[0]["state"]["guard"].unscanned == ("exempt",)


@pytest.mark.parametrize(
    "target",
    [
        "/static",
        "/staticky",
        "/healthz/",
        "/healthz/deep",
        "/Healthz",
        "/HEALTHZ",
        "/v1/chat/completions",
        "//healthz",
        "/static//v1/chat/completions",
        "/static/../v1/chat/completions",
        "/static/./a",
        "/static/..",
        "/static/%2e%2e/v1/chat/completions",
        "/static/%2E%2E%2Fv1",
        "/static%2fa",
        "/static/a%2f..%2fb",
        "/static/..%5cv1",
        "/static/a\\..\\v1",
        "/static/%252e%252e/v1",
        "/st%61tic/a",
        "/%68ealthz",
        "/healthz%00",
        "/healthz%0a",
        "/healthz;/v1",
        "/healthz%3bv1",
        "/healthz%3Fq",
        "/healthz%23",
        "/static/a;b",
        "healthz",
        "http://host/healthz",
        "*",
        "",
    ],
)
async def test_no_other_spelling_passes(guard: Guard, target: str) -> None:
    """Case, slashes, dots, percent-encoding, parameters: what is not plain is read."""
    assert not await passes(guard, target)


@given(
    path=st.text("/ab.%", max_size=8).map("/".__add__),
    root=st.sampled_from(["", "/", "/a", "/a/", "/a/b", "/ab"]),
)
def test_the_path_is_the_one_that_starlette_routes_on(path: str, root: str) -> None:
    """`root_path` is removed exactly as Starlette's router removes it."""
    scope = http_scope(path, root_path=root)
    assert route_path(scope) == get_route_path(scope)


@pytest.mark.parametrize(
    ("entry", "target"), [("GET /healthz", "/healthz"), ("GET /static/*", "/static/a")]
)
async def test_an_exemption_may_name_its_method(guard: Guard, entry: str, target: str) -> None:
    """With a method in front the same path is read for any other method, and as a WebSocket."""
    assert await passes(guard, target, [entry], method="GET")
    for method in ("POST", "HEAD", "get", "GET "):
        assert not await passes(guard, target, [entry], method=method)
    assert not Exemptions([entry]).match({"type": "websocket", "path": target})
    assert Exemptions([target]).match({"type": "websocket", "path": target})


async def test_no_header_is_a_way_out(guard: Guard) -> None:
    """Headers that rename the path or the method for other software change nothing here."""
    target = b"/healthz"
    for name in (b"x-original-url", b"x-rewrite-url", b"x-forwarded-prefix", b"x-forwarded-uri"):
        app = Notes()
        scope = http_scope(headers=[*JSON, (name, target), (b"x-http-method-override", b"GET")])
        guarded = GuardMiddleware(app, guard, exempt=["/healthz"])
        assert (await exchange(guarded, scope, [BODY])).status == 400


async def test_exemptions_are_relative_to_the_application(guard: Guard) -> None:
    """Under a root path or a mount the router sees the rest, and so does the exemption."""
    assert await passes(guard, "/api/healthz", root_path="/api")
    assert not await passes(guard, "/api/healthz")
    assert not await passes(guard, "/healthz/healthz", exempt=["/healthz"], root_path="")
    assert not await passes(guard, "/apihealthz", root_path="/api")


@given(
    text=st.text(max_size=6), before=st.sampled_from(["", "/", "/static", "/static/", "/healthz"])
)
def test_only_paths_that_mean_one_thing_are_exempt(text: str, before: str) -> None:
    """Whatever passes is its own canonical spelling: decoded once, nothing is left to resolve."""
    target = before + quote(text, safe="/%.;\\", errors="replace")
    scope = http_scope(unquote(target), raw_path=target.encode("ascii"))
    if Exemptions(EXEMPT).match(scope):
        path = scope["path"]
        assert path == "/healthz" or path.startswith("/static/")
        assert unquote(path) == path
        assert not {"", ".", ".."} & set(path.removesuffix("/").split("/")[1:])
        assert not set(path) & set("\\;?#%")


@pytest.mark.parametrize(
    ("exempt", "message"),
    [
        ("/healthz", "use a list of paths"),
        (["healthz"], "can never match"),
        (["/a//b"], "can never match"),
        (["/a/../b"], "can never match"),
        (["/a%20b"], "can never match"),
        (["/a*"], "can never match"),
        (["/*/b"], "can never match"),
        (["/*"], "leave the guard out"),
        (["GET /*"], "leave the guard out"),
        (["get /healthz"], "can never match"),
        (["GET  /healthz"], "can never match"),
        ([" /healthz"], "can never match"),
        (["/a b"], "can never match"),
    ],
)
def test_exemptions_that_cannot_work_are_refused(
    guard: Guard, exempt: Sequence[str], message: str
) -> None:
    """A pattern that never matches, or matches everything, is an error when the app is built."""
    with pytest.raises(ConfigurationError, match=message):
        GuardMiddleware(Notes(), guard, exempt=exempt)
