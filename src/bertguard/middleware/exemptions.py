"""The path as the application's router sees it, and the routes that the guard leaves unread.

A request is exempt by its method and the plain spelling of its path alone. A spelling that another
router, proxy or file system could read as another path is never exempt: it is read, that is all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

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


class Exemptions:
    """Routes that are not read.

    An entry is a path (`/healthz`, with any method), a path and everything below (`/static/*`),
    or either after one method (`GET /static/*`). A WebSocket has no method, so an entry with one
    never exempts it.

    Raises:
        ConfigurationError: an entry that can never match, or would match everything.
    """

    def __init__(self, entries: Sequence[str]) -> None:
        if isinstance(entries, str):
            raise ConfigurationError(f"exempt={entries!r} is one string; use a list of paths")
        self._exact: set[tuple[str | None, str]] = set()
        self._below: list[tuple[str | None, str]] = []
        for entry in entries:
            self._add(entry)

    def _add(self, entry: str) -> None:
        method, space, path = entry.rpartition(" ")
        base = path.removesuffix("*") if path.endswith("/*") else path
        if base == "/" != path:
            raise ConfigurationError(f"exempt={entry!r} exempts everything; leave the guard out")
        if not is_plain(base) or "*" in base or (space and not _METHOD.fullmatch(method)):
            raise ConfigurationError(
                f"exempt={entry!r} can never match; use a plain path as the router sees it, "
                'like "/healthz", "/static/*" for everything below, or "GET /healthz"'
            )
        key = (method if space else None, base)
        if base == path:
            self._exact.add(key)
        else:
            self._below.append(key)

    def match(self, scope: Scope) -> bool:
        """Whether the request or connection of this scope is left unread."""
        path, methods = route_path(scope), (None, scope.get("method"))
        listed = any((method, path) in self._exact for method in methods) or any(
            method in methods and path.startswith(base) for method, base in self._below
        )
        raw: bytes = scope.get("raw_path") or b""
        return listed and is_plain(path) and not _NEEDLESSLY_ENCODED.search(raw)


def is_plain(path: str) -> bool:
    """Whether a decoded path means one thing to everybody."""
    return path.startswith("/") and not _NOT_PLAIN.search(path)
