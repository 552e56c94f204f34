"""A verdict -> the answer that the caller's SDK turns into its own typed error.

A block is a 400 that no SDK tries again; a guard that could not scan is a 503 that says so. No
answer holds a word of the prompt.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from bertguard.verdict import Verdict
from bertguard.wire.headers import MAX_INFLATE_RATIO

_BUSY = frozenset({"queue_full", "deadline", "scorer_error", "internal_error"})
_SAYS = {
    400: "The request was refused: it looks like a prompt injection.",
    413: "The request body is larger than the guard reads.",
    415: "The request body has an encoding that the guard does not read.",
    503: "The request could not be checked for prompt injections, so it was refused.",
}
_UNREADABLE = "The request was refused: its body cannot be read, or in more than one way"
_RATIO = (
    f"The request was refused: its body inflates to more than {MAX_INFLATE_RATIO} times its bytes. "
    "Send it uncompressed."
)
_UNSCANNED = "The request was refused: a part of it could not be checked"
# https://docs.anthropic.com/en/api/errors
_ANTHROPIC = {400: "invalid_request_error", 413: "request_too_large", 503: "overloaded_error"}
# https://cloud.google.com/apis/design/errors
_GOOGLE = {400: "INVALID_ARGUMENT", 413: "INVALID_ARGUMENT", 503: "UNAVAILABLE"}
# Cohere's SDK tries every 5xx again, whatever `x-should-retry` says. 424: a dependency failed.
_UNRETRIED = {("cohere", 503): 424}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP answer: status, headers in lower case, and the body in the caller's dialect."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def refuse(verdict: Verdict) -> Refusal:
    """The answer to a blocked request."""
    reasons = [entry.split(" ")[0] for entry in verdict.unscanned]
    unreadable = next((r for r in reasons if r.startswith("unreadable:")), "")
    if verdict.findings:
        return _answer(400, "content_filter", _SAYS[400], verdict.dialect)
    if unreadable:
        reason = unreadable.removeprefix("unreadable:")
        if reason == "content_encoding":
            return _answer(415, "unsupported_encoding", _SAYS[415], verdict.dialect)
        if reason == "inflated_size":
            return _answer(413, "request_too_large", _SAYS[413], verdict.dialect)
        if reason == "inflate_ratio":
            return _answer(400, "unreadable_body", _RATIO, verdict.dialect)
        return _answer(400, "unreadable_body", f"{_UNREADABLE} ({reason}).", verdict.dialect)
    if _BUSY & set(reasons):
        return _answer(503, "guard_unavailable", _SAYS[503], verdict.dialect)
    if reasons:
        return _answer(400, "unscanned", f"{_UNSCANNED} ({reasons[0]}).", verdict.dialect)
    return _answer(400, "content_filter", _SAYS[400], verdict.dialect)


def too_large(limit_bytes: int, dialect: str) -> Refusal:
    """The answer to a body beyond the bound."""
    message = f"{_SAYS[413]} At most {limit_bytes} bytes are read."
    return _answer(413, "request_too_large", message, dialect)


def _answer(status: int, code: str, message: str, dialect: str) -> Refusal:
    family = dialect.partition(".")[0]
    status = _UNRETRIED.get((family, status), status)
    body = json.dumps(_shaped(family, status, code, message)).encode()
    headers = [
        ("content-type", "application/json"),
        ("content-length", str(len(body))),
        # The OpenAI and Anthropic SDKs obey it, for statuses that they would try again too.
        ("x-should-retry", "false"),
        ("x-guard-action", "block"),
        ("cache-control", "no-store"),
    ]
    return Refusal(status, tuple(headers), body)


def _shaped(family: str, status: int, code: str, message: str) -> dict[str, object]:
    """The error object of a family of dialects."""
    if family == "anthropic":
        kind = _ANTHROPIC.get(status, "invalid_request_error")
        return {
            "type": "error",
            "error": {"type": kind, "message": message, "code": code},
            "request_id": None,
        }
    if family == "gemini":
        name = _GOOGLE.get(status, "INVALID_ARGUMENT")
        details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": code}]
        return {"error": {"code": status, "message": message, "status": name, "details": details}}
    if family == "ollama":
        # Its SDKs keep the words of `error` and nothing else.
        return {"error": f"{message} ({code})", "code": code}
    if family in ("cohere", "bedrock"):
        return {"message": message, "code": code}
    if family == "mcp":
        # -32600 is "invalid request" (https://www.jsonrpc.org/specification#error_object).
        error = {"code": -32600, "message": message, "data": {"code": code}}
        return {"jsonrpc": "2.0", "id": None, "error": error}
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
