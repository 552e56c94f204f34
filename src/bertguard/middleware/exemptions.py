"""The path as the application's router sees it, and the routes that the guard leaves unread.

A request is exempt by its method and the plain spelling of its path alone. A spelling that another
router, proxy or file system could read as another path is never exempt: it is read, that is all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from bertguard.errors import ConfigurationError
from bertguard.verdict import Action, Verdict

if TYPE_CHECKING:
    from starlette.types import Scope

EXEMPT = Verdict(Action.ALLOW, 0.0, 1.0, unscanned=("exempt",), dialect="exempt")

# What another reader might take for something else: empty and dot segments, and characters that
# separate, escape or end a path.
_NOT_PLAIN = re.compile(r"//|/\.{1,2}(?:/|$)|[\\%;?#\x00-\x1f\x7f]")
# Percent-encoded unreserved characters (RFC 3986 section 2.3), slash, backslash and percent.
_NEEDLESSLY_ENCODED = re.compile(
    rb"%(?:2[def5]|3\d|4[1-9a-f]|5[\dacf]|6[1-9a-f]|7[\dae])", re.IGNORECASE
)
_METHOD = re.compile(r"[A-Z]+")


def route_path(scope: Scope) -> str:
    """The path as the application's router sees it: without `root_path`.

    Source: starlette._utils.get_route_path, which is private.
    """
    path: str = scope["path"]
    root_path: str = scope.get("root_path", "")
    if root_path and path == root_path:
        return ""
    if root_path and path.startswith(root_path) and path[len(root_path)] == "/":
        return path[len(root_path) :]
    return path


@dataclass(frozen=True, slots=True)
class Route:
    """A path (`/healthz`) or everything below one (`/static/`, with `below`).

    `method` is the one that it is limited to, or None. A WebSocket has none, so a route with one
    is never its route.
    """

    method: str | None
    path: str
    below: bool

    @classmethod
    def parse(cls, entry: str, option: str) -> Self:
        """From `/healthz`, `/static/*` or either after one method (`GET /static/*`).

        Raises:
            ConfigurationError: it can never match.
        """
        method, space, path = entry.rpartition(" ")
        below = path.endswith("/*")
        base = path.removesuffix("*") if below else path
        if not is_plain(base) or "*" in base or (space and not _METHOD.fullmatch(method)):
            raise ConfigurationError(
                f"{option}={entry!r} can never match; use a plain path as the router sees it, "
                'like "/healthz", "/static/*" for everything below, or "GET /healthz"'
            )
        return cls(method if space else None, base, below)

    def match(self, path: str, method: str | None) -> bool:
        """Whether a path as the router sees it, in its plain spelling, is here."""
        return self.method in (None, method) and (
            path.startswith(self.path) if self.below else path == self.path
        )


class Exemptions:
    """Routes that are not read.

    Raises:
        ConfigurationError: an entry that can never match, or would match everything.
    """

    def __init__(self, entries: Sequence[str]) -> None:
        if isinstance(entries, str):
            raise ConfigurationError(f"exempt={entries!r} is one string; use a list of paths")
        self._routes = [Route.parse(entry, "exempt") for entry in entries]
        for entry, route in zip(entries, self._routes, strict=True):
            if route.below and route.path == "/":
                raise ConfigurationError(
                    f"exempt={entry!r} exempts everything; leave the guard out"
                )

    def match(self, scope: Scope) -> bool:
        """Whether the request or connection of this scope is left unread."""
        path, method = route_path(scope), scope.get("method")
        return any(route.match(path, method) for route in self._routes) and plainly_spelled(scope)


def plainly_spelled(scope: Scope) -> bool:
    """Whether the path of a request means one thing to everybody, also as it came on the wire."""
    raw: bytes = scope.get("raw_path") or b""
    return is_plain(route_path(scope)) and not _NEEDLESSLY_ENCODED.search(raw)


def is_plain(path: str) -> bool:
    """Whether a decoded path means one thing to everybody."""
    return path.startswith("/") and not _NOT_PLAIN.search(path)
