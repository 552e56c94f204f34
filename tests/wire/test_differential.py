"""What another reader finds in a request, the guard has read, or has refused.

A keyword scorer stands in for the model. For any request that Starlette's `request.json()`,
`request.form()` or `request.query_params` reads: if the attack is visible there, the verdict is not
allow. `test_differential_models.py` does the same with the models of FastAPI and of the SDKs;
`GUARD_CASES=20000 pytest tests/wire -k differential --hypothesis-seed=20261127` is the long run of
both, 200,000 cases.

The other way round, no innocent request that httpx builds is refused or left unscanned: without
that, a guard that refuses everything would pass.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message, Scope

from bertguard import Action, Guard
from support import ATTACK, BENIGN, KeywordScorer
from wild import CASES, PATHS, documents, visible


@pytest.fixture(scope="module")
def guard() -> Iterator[Guard]:
    with Guard(KeywordScorer()) as loaded:
        yield loaded


def request_of(body: bytes, headers: Mapping[str, str], query: str = "") -> Request:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "query_string": query.encode(),
        "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
    }
    return Request(scope, receive)


async def read_as_json(body: bytes, headers: Mapping[str, str]) -> object:
    try:
        return await request_of(body, headers).json()
    except (ValueError, RecursionError):
        return None


@settings(max_examples=CASES)
@given(
    document=documents(),
    path=st.sampled_from(PATHS),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-32-be"]),
    content_type=st.sampled_from(
        ["application/json", "text/plain", "", "application/x-www-form-urlencoded",
         "multipart/form-data; boundary=x", "application/x-ndjson", "image/png"]
    ),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 0, 2]),
)  # fmt: skip
async def test_json(
    *,
    guard: Guard,
    document: object,
    path: str,
    encoding: str,
    content_type: str,
    ascii_only: bool,
    indent: int | None,
) -> None:
    """Whatever the label, encoding, layout and shape."""
    body = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode(encoding)
    headers = {"content-type": content_type} if content_type else {}
    if visible(await read_as_json(body, headers)):
        verdict = await guard.check_body(body, path=path, headers=headers)
        assert verdict.blocked, (document, verdict)


@settings(max_examples=CASES)
@given(raw=st.data(), path=st.sampled_from(PATHS))
async def test_mutated_bytes(guard: Guard, raw: st.DataObject, path: str) -> None:
    """Bytes that are almost JSON: duplicated keys, odd tokens, cuts and joins."""
    text = json.dumps(raw.draw(documents()))
    for _ in range(raw.draw(st.integers(0, 3))):
        at = raw.draw(st.integers(0, len(text)))
        odd = raw.draw(
            st.sampled_from(
                [
                    '"a":1,',
                    "NaN",
                    "\\u0000",
                    "\\ud800",
                    "//x\n",
                    "]",
                    "}",
                    "{",
                    ",",
                    " ",
                    "\x00",
                    "\ufeff",
                    "1e999",
                    "\\",
                    '"',
                    "\n{}",
                    "\r",
                ]
            )
        )
        text = text[:at] + odd + text[at + raw.draw(st.integers(0, 2)) :]
    body = text.encode("utf-8", "surrogatepass")
    headers = {"content-type": "application/json"}
    if visible(await read_as_json(body, headers)):
        verdict = await guard.check_body(body, path=path, headers=headers)
        assert verdict.blocked, (text, verdict)


@settings(max_examples=CASES)
@given(
    before=st.binary(max_size=5) | st.sampled_from([b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\0\0"]),
    written=st.sampled_from(["utf-8", "utf-16-le", "utf-16-be", "utf-16", "utf-32-le", "utf-32"]),
    after=st.binary(max_size=3),
    kind=st.sampled_from(["text/plain", "", "text/html", "application/octet-stream", "a/b"]),
    charset=st.sampled_from(["", "utf-8", "utf-16", "utf-16le", "utf-16be", "utf-32be", "latin-1"]),
)  # fmt: skip
async def test_text(
    *, guard: Guard, before: bytes, written: str, after: bytes, kind: str, charset: str
) -> None:
    """A reader of plain text takes the bytes by their label, or as UTF-8, strictly or not."""
    body = before + ATTACK.encode(written) + after
    label = f"{kind}; charset={charset}" if kind and charset else kind
    headers = {"content-type": label} if label else {}
    charset = charset if kind else ""
    seen = [body.decode(reader, "replace") for reader in {"utf-8", "latin-1", charset or "utf-8"}]
    if visible(seen):
        verdict = await guard.check_body(body, path="/ask", headers=headers)
        assert verdict.blocked, (body, headers, verdict)


@settings(max_examples=CASES)
@given(
    fields=st.lists(
        st.tuples(
            st.sampled_from(["q", "text", "file", ATTACK]), st.sampled_from([BENIGN, ATTACK])
        ),
        min_size=1,
        max_size=4,
    ),
    quoting=st.sampled_from([quote_plus, quote]),
    where=st.sampled_from(["body", "query"]),
    packed=st.booleans(),
)
async def test_forms_and_queries(
    guard: Guard,
    fields: list[tuple[str, str]],
    quoting: Any,
    where: str,
    packed: bool,
) -> None:
    """Names and values, in the body or the query, packed or plain."""
    encoded = urlencode(fields, quote_via=quoting)
    headers = {"content-type": "application/x-www-form-urlencoded"}
    body, query = (encoded.encode(), "") if where == "body" else (b"", encoded)
    request = request_of(body, headers, query)
    seen = list((await request.form()).multi_items()) + list(request.query_params.multi_items())
    if packed and body:
        body, headers = gzip.compress(body), {**headers, "content-encoding": "gzip"}
    if visible(seen):
        verdict = await guard.check_body(body, path="/ask", headers=headers, query=query)
        assert verdict.blocked, (fields, verdict)


@settings(max_examples=CASES)
@given(
    parts=st.lists(
        st.tuples(
            st.sampled_from(["q", "file", ATTACK]),
            st.sampled_from(["", "a.txt", "a.json", "a.png", f"{ATTACK}.txt"]),
            st.sampled_from(["", "text/plain", "application/json", "image/png", "a/b"]),
            st.sampled_from([BENIGN, ATTACK, json.dumps({"text": ATTACK})]),
        ),
        min_size=1,
        max_size=3,
    ),
    boundary=st.sampled_from(["x", "----WebKitFormBoundaryABC", "a b"]),
    newline=st.sampled_from(["\r\n", "\n"]),
)
async def test_multipart(
    guard: Guard, parts: list[tuple[str, str, str, str]], boundary: str, newline: str
) -> None:
    """Fields, files and their names, under any label."""
    text = ""
    for name, filename, kind, content in parts:
        text += f'--{boundary}{newline}content-disposition: form-data; name="{name}"'
        text += f'; filename="{filename}"' if filename else ""
        text += f"{newline}content-type: {kind}" if kind else ""
        text += f"{newline}{newline}{content}{newline}"
    body = f"{text}--{boundary}--{newline}".encode()
    headers = {"content-type": f'multipart/form-data; boundary="{boundary}"'}
    seen: list[object] = []
    try:
        async with request_of(body, headers).form() as form:
            for name, value in form.multi_items():
                if isinstance(value, str):
                    seen += [name, value]
                else:
                    seen += [name, value.filename, (await value.read()).decode("utf-8", "replace")]
    except Exception:  # noqa: BLE001  # whatever stops the application's reader stops the attack
        return
    if visible(seen):
        verdict = await guard.check_body(body, path="/ask", headers=headers)
        assert verdict.blocked, (text, verdict)


# Whatever people write, in any script; NUL alone is no text in a form.
PROSE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
NAMES = st.sampled_from(["text", "q", "messages", "content", "input", "file", "größe", "質問"])
VALUES = st.recursive(
    PROSE
    | st.integers(-(10**6), 10**6)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.none()
    | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


def innocent_request(kind: str, url: str, pairs: dict[str, str], value: object) -> httpx.Request:
    lines = "\n".join(json.dumps({"t": text}, ensure_ascii=False) for text in pairs.values())
    made: dict[str, dict[str, Any]] = {
        "json": {"json": {"model": "m", "x": value, **pairs}},
        "form": {"data": pairs},
        "multipart": {"files": {name: (None, text) for name, text in pairs.items()}},
        "upload": {"files": {k: (v[:20] or "a", v, "text/plain") for k, v in pairs.items()}},
        "query": {"params": pairs},
        "text": {
            "content": " ".join(pairs.values()),
            "headers": {"content-type": "text/plain; charset=utf-8"},
        },
        "lines": {"content": lines, "headers": {"content-type": "application/x-ndjson"}},
    }
    return httpx.Request("POST", url, **made[kind])


@settings(max_examples=CASES)
@given(
    kind=st.sampled_from(["json", "form", "multipart", "upload", "query", "text", "lines"]),
    pairs=st.dictionaries(NAMES, PROSE, min_size=1, max_size=4),
    value=VALUES,
    path=st.sampled_from(PATHS),
)
async def test_innocent_requests_pass(
    guard: Guard, kind: str, pairs: dict[str, str], value: object, path: str
) -> None:
    """In any script, as any client builds them."""
    request = innocent_request(kind, f"http://test{path}", pairs, value)
    verdict = await guard.check_body(
        request.read(), path=path, headers=dict(request.headers), query=request.url.query.decode()
    )
    assert verdict.action is Action.ALLOW, (request.content, verdict)
    assert not verdict.unscanned
