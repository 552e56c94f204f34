"""What all faces of the client share: the question to the guard, and the answer to the caller."""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any
from urllib.parse import unquote

from bertguard.edge import (
    INTERNAL_ERROR,
    NOTHING_TO_READ,
    TOO_LARGE,
    checked_cap,
    checked_guard,
    is_report,
    log_failure,
    not_judged,
    nothing_to_read,
    told,
)
from bertguard.guard import Guard
from bertguard.policy import roles
from bertguard.segments import Role
from bertguard.verdict import Verdict
from bertguard.wire.refusal import refuse, too_large

# 32 MiB is the largest request that Anthropic's messages endpoint takes, images included; the
# application composed the body itself, so the cap guards against accidents, not against a crowd.
DEFAULT_MAX_BODY_BYTES = 32 * 1024 * 1024

# In a client the application wrote the instructions and defined the tools, the LLM wrote the
# earlier turns, and the application chose to have texts embedded, which nobody follows: a document
# is scored when it comes back as one. What came from elsewhere, user turns and tool results, is
# what gets scored.
DEFAULT_TRUSTED_ROLES = frozenset(
    {Role.SYSTEM, Role.DEVELOPER, Role.ASSISTANT, Role.DEFINITION, Role.EMBEDDING}
)

# What httpx and httpx2 put on a request where nobody has set a timeout: no decision of anybody's,
# and a slow CPU reads a long document for longer. The SDKs of OpenAI and Anthropic (`_base_client`,
# HTTPX_DEFAULT_TIMEOUT) take it as unset, too.
_TIMEOUT_UNSET = dict.fromkeys(("connect", "read", "write", "pool"), 5.0)

_logger = logging.getLogger("bertguard.client")


class Gate:
    """One guard with the options of one transport.

    Requests and responses are those of `library`; httpx and httpx2 spell them alike.
    """

    def __init__(
        self,
        guard: Guard,
        library: ModuleType,
        trusted_roles: Collection[Role | str],
        max_body_bytes: int,
        *,
        sync: bool,
    ) -> None:
        self.guard = checked_guard(guard)
        self.library = library
        self.trusted_roles = roles(trusted_roles)
        self.max_body_bytes = checked_cap(max_body_bytes)
        self._bounds = _takes_a_timeout(guard, "check_body_sync" if sync else "check_body")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Gate) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[object, ...]:
        return id(self.guard), self.library, self.trusted_roles, self.max_body_bytes

    def known(self, request: Any, body: bytes | None) -> Verdict | None:
        """The verdict that needs no scoring; `body` is None where it is over the cap."""
        if body is None:
            return told(self._refused(request, TOO_LARGE), self.guard)
        upgrade = "upgrade" in request.headers or request.url.scheme in ("ws", "wss")
        if upgrade or request.method.upper() == "CONNECT":
            # What follows the handshake goes over the socket, past every transport.
            verdict = self._refused(request, "protocol_upgrade")
            return told(replace(verdict, action=self.guard.policy.unscanned_action), self.guard)
        return NOTHING_TO_READ if nothing_to_read(*_target(request), body) else None

    def about(self, request: Any) -> dict[str, Any]:
        """What the guard is told beside the body."""
        path, query = _target(request)
        told = {
            "path": path,
            "headers": request.headers.multi_items(),
            "query": query,
            "trusted_roles": self.trusted_roles,
        }
        # How long the caller waits for the first sign of an answer, and the guard comes before it.
        timeout = request.extensions.get("timeout", {})
        patience = None if timeout == _TIMEOUT_UNSET else timeout.get("read")
        if self._bounds and patience is not None and patience < self.guard.timeout_seconds:
            told["timeout_seconds"] = patience
        return told

    def broken(self, request: Any, error: Exception) -> Verdict:
        """The guard itself failed: closed, and logged without a word of the text."""
        log_failure(_logger, error)
        return told(self._refused(request, INTERNAL_ERROR), self.guard)

    def _refused(self, request: Any, reason: str) -> Verdict:
        return not_judged(reason, path=_target(request)[0], guard=self.guard)

    def refusal(self, request: Any, verdict: Verdict) -> Any:
        """The answer to a blocked request: a response as the provider would send it."""
        if TOO_LARGE in verdict.unscanned:
            answer = too_large(self.max_body_bytes, verdict.dialect)
        else:
            answer = refuse(verdict)
        # A stream, as from a wire: `content=` would be read before the client has it, which then
        # could neither time it (`elapsed`) nor read it raw.
        return self.library.Response(
            answer.status,
            headers=list(answer.headers),
            stream=self.library.ByteStream(answer.body),
            request=request,
            extensions={"guard": verdict},
        )

    def passed(self, response: Any, verdict: Verdict) -> Any:
        """The upstream's own response with the verdict beside it, and no `x-guard-*` of others."""
        kept = [(name, value) for name, value in response.headers.raw if not is_report(name)]
        if len(kept) < len(response.headers.raw):
            response.headers = self.library.Headers(kept)
        response.extensions = {**response.extensions, "guard": verdict}
        return response

    def resend(self, request: Any, body: bytes) -> None:
        """Make the bytes that were read what the request sends, as often as it is sent."""
        request.stream = self.library.ByteStream(body)

    def resend_unread(
        self, request: Any, stream: Any, content: Iterator[bytes] | AsyncIterator[bytes]
    ) -> None:
        """Put back what is over the cap; only shadow mode goes on to send it.

        Bytes at hand can be sent again, after a redirect say; `content` is the rest of an iterator.
        """
        if isinstance(stream, self.library.ByteStream):
            return
        # A throw-away request turns an iterator into a stream of the right class.
        request.stream = self.library.Request("POST", request.url, content=content).stream


def _takes_a_timeout(guard: Guard, method: str) -> bool:
    """Whether a guard, or what wraps one, may be told `timeout_seconds`, which came later."""
    try:
        parameters = inspect.signature(getattr(guard, method)).parameters.values()
    except (AttributeError, TypeError, ValueError):  # it is not there, or tells nothing of itself
        return False
    return hasattr(guard, "timeout_seconds") and any(
        parameter.name == "timeout_seconds" or parameter.kind is parameter.VAR_KEYWORD
        for parameter in parameters
    )


def _target(request: Any) -> tuple[str, str]:
    """Path and query as they will be sent: httpx lets an extension override those of the URL."""
    target: bytes = request.extensions.get("target", request.url.raw_path)
    path, _, query = target.decode("latin-1").partition("?")
    return unquote(path), query
