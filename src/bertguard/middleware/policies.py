"""Policies of single routes, so chosen that no spelling of a path gets a milder one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bertguard.errors import ConfigurationError
from bertguard.middleware.exemptions import Route, plainly_spelled, route_path
from bertguard.policy import Policy

if TYPE_CHECKING:
    from starlette.types import Scope


class RoutePolicies:
    """Which policies count for a request: nearly always one.

    A path in its plain spelling that is listed has its own policy; the most particular entry
    counts (a path before everything below it, the longer before the shorter, one method before
    all). Any other spelling could be a listed path to the application's router: it has to satisfy
    the guard's own policy *and* that of every route that it could mean.

    Raises:
        ConfigurationError: an entry that can never match, or whose value is no policy.
    """

    def __init__(self, entries: Mapping[str, Policy]) -> None:
        for entry, policy in entries.items():
            if not isinstance(policy, Policy):
                raise ConfigurationError(
                    f"routes[{entry!r}] is a {type(policy).__name__}; use a Policy"
                )
        routes = [(Route.parse(entry, "routes"), policy) for entry, policy in entries.items()]
        routes.sort(key=lambda item: (item[0].below, -len(item[0].path), item[0].method is None))
        self._routes = routes

    @property
    def policies(self) -> list[Policy]:
        """All of them."""
        return [policy for _, policy in self._routes]

    def choose(self, scope: Scope) -> list[Policy | None]:
        """The policies that a request has to satisfy; None is the guard's own."""
        if not self._routes:
            return [None]
        path, method = route_path(scope), scope.get("method")
        if not plainly_spelled(scope):
            return [None, *self.policies]
        for route, policy in self._routes:
            if route.match(path, method):
                return [policy]
        return [None, *(policy for route, policy in self._routes if _could_be(path, route))]


def _could_be(path: str, route: Route) -> bool:
    """Whether a router that is less strict about case, final slashes and methods sees the route.

    HEAD, for one, is answered by the function that answers GET.
    """
    loose = path.casefold().rstrip("/") + "/"
    wanted = route.path.casefold().rstrip("/") + "/"
    return loose.startswith(wanted) if route.below else loose == wanted
