"""One question to the guard, and what counts where there is no guard or where it fails."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from bertguard.edge import INTERNAL_ERROR, checked_guard, log_failure, not_judged, told
from bertguard.errors import ConfigurationError
from bertguard.guard import Guard
from bertguard.middleware.policies import RoutePolicies
from bertguard.policy import Policy, roles
from bertguard.segments import Role
from bertguard.verdict import Verdict

if TYPE_CHECKING:
    from starlette.types import Scope

_logger = logging.getLogger("bertguard.middleware")


class Judge:
    """Asks the guard about bodies and frames; a failure of any kind is a verdict, too."""

    def __init__(
        self,
        guard: Guard | Callable[[], Guard],
        trusted_roles: Collection[Role | str],
        routes: Mapping[str, Policy],
    ) -> None:
        self.trusted_roles = roles(trusted_roles)
        self._routes = RoutePolicies(routes)
        self._factory: Callable[[], Guard] | None = None
        self._guard: Guard | None = None
        # The guard under the policy of a route, by the policy's identity.
        self._twins: dict[int, Guard] = {}
        if isinstance(guard, type):
            raise ConfigurationError(
                f"guard={guard.__name__} is a class; use Guard.load, which is called at start-up, "
                "or Guard.load(…)"
            )
        if callable(guard):
            self._factory = guard
        else:
            self._take(guard)
        self._loading: Future[Guard] | None = None
        self._lock = threading.Lock()

    def _take(self, guard: object) -> Guard:
        found = checked_guard(guard)
        if self._routes.policies and not hasattr(found, "with_policy"):
            raise ConfigurationError(
                f"routes= needs a guard with with_policy, a {type(guard).__name__} has none; "
                "use a Guard"
            )
        self._twins = {id(policy): found.with_policy(policy) for policy in self._routes.policies}
        self._guard = found
        return found

    @property
    def waits_for_start_up(self) -> bool:
        """Whether the guard is still to be loaded."""
        return self._guard is None

    async def ready(self) -> Guard:
        """The guard, loaded first where it was given as a function; together callers wait once."""
        if self._guard is not None:
            return self._guard
        # A caller that gives up must not cancel what others wait for, or will.
        return await asyncio.shield(asyncio.wrap_future(self._begun()))

    def _begun(self) -> Future[Guard]:
        """The one load, in a thread of its own, however many loops and requests ask for it."""
        with self._lock:
            if self._loading is None:
                thread = ThreadPoolExecutor(1, "bertguard-load")
                self._loading = thread.submit(self._load)
                thread.shutdown(wait=False)
            return self._loading

    def _load(self) -> Guard:
        try:
            if self._factory is None:
                raise RuntimeError("a Judge holds a guard or a way to get one")
            return self._take(self._factory())
        except BaseException:
            with self._lock:
                self._loading = None  # the next to ask tries again
            raise

    def _asked(self, scope: Scope) -> list[Guard]:
        """The guards whose verdict counts, where there is a guard: nearly always one."""
        if self._guard is None:
            return []
        return [
            self._guard if policy is None else self._twins[id(policy)]
            for policy in self._routes.choose(scope)
        ]

    async def body(
        self, scope: Scope, body: bytes, headers: Sequence[tuple[str, str]] = (), query: str = ""
    ) -> Verdict:
        """The verdict on one body with the path and the query string that came with it."""
        try:
            await self.ready()
            found = []
            for guard in self._asked(scope):
                verdict = await guard.check_body(
                    body,
                    path=scope["path"],
                    headers=headers,
                    query=query,
                    trusted_roles=self.trusted_roles,
                )
                found.append(verdict)
                if verdict.blocked:
                    break
            return strictest(found)
        except Exception as error:  # noqa: BLE001 - fail closed, whatever it was
            return self._broken(scope, error)

    async def no_text(self, scope: Scope, reason: str) -> Verdict:
        """The verdict on what is no text: the policy's `on_unscanned` decides."""
        try:
            await self.ready()
            return strictest(
                [
                    told(
                        replace(
                            not_judged(reason, path=scope["path"], guard=guard),
                            action=guard.policy.unscanned_action,
                        ),
                        guard,
                    )
                    for guard in self._asked(scope)
                ]
            )
        except Exception as error:  # noqa: BLE001 - fail closed, whatever it was
            return self._broken(scope, error)

    async def refused(self, scope: Scope, reason: str) -> Verdict:
        """Blocked as unscanned, whatever `on_unscanned` says; only shadow mode lets it pass."""
        try:
            await self.ready()  # its policy says whether this is shadow mode
        except Exception as error:  # noqa: BLE001 - refused all the same, whatever it was
            log_failure(_logger, error)
        return self._refused(scope, reason)

    def _refused(self, scope: Scope, reason: str) -> Verdict:
        path = scope["path"]
        guards: list[Guard | None] = [*self._asked(scope)]
        return strictest(
            [told(not_judged(reason, path=path, guard=guard), guard) for guard in guards or [None]]
        )

    def _broken(self, scope: Scope, error: Exception) -> Verdict:
        log_failure(_logger, error)
        return self._refused(scope, INTERNAL_ERROR)


def strictest(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict that counts: one that blocks, else the most severe, else one with gaps."""
    return max(
        verdicts,
        key=lambda verdict: (verdict.blocked, verdict.action.severity, bool(verdict.unscanned)),
    )
