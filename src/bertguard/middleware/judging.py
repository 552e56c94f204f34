"""One question to the guard, and what counts where there is no guard or where it fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bertguard.edge import INTERNAL_ERROR, checked_guard, log_failure, not_judged, roles
from bertguard.guard import Guard
from bertguard.middleware.exemptions import route_path
from bertguard.segments import Role
from bertguard.verdict import Verdict

if TYPE_CHECKING:
    from starlette.types import Scope

_logger = logging.getLogger("bertguard.middleware")


class Judge:
    """Asks the guard about bodies and frames; a failure of any kind is a verdict, too."""

    def __init__(
        self, guard: Guard | Callable[[], Guard], trusted_roles: Collection[Role | str]
    ) -> None:
        self._factory: Callable[[], Guard] | None = None
        self._guard: Guard | None = None
        if callable(guard):
            self._factory = guard
        else:
            self._guard = checked_guard(guard)
        self._loading = asyncio.Lock()
        self.trusted_roles = roles(trusted_roles)

    @property
    def waits_for_start_up(self) -> bool:
        """Whether the guard is still to be loaded."""
        return self._guard is None

    async def ready(self) -> Guard:
        """The guard, loaded first where it was given as a function; together callers wait once."""
        if self._guard is not None:
            return self._guard
        async with self._loading:
            if self._guard is None:
                if self._factory is None:
                    raise RuntimeError("a Judge holds a guard or a way to get one")
                self._guard = checked_guard(await asyncio.to_thread(self._factory))
            return self._guard

    async def body(
        self, scope: Scope, body: bytes, headers: Sequence[tuple[str, str]] = (), query: str = ""
    ) -> Verdict:
        """The verdict on one body with the path and the query string that came with it."""
        try:
            guard = await self.ready()
            return await guard.check_body(
                body,
                path=route_path(scope),
                headers=headers,
                query=query,
                trusted_roles=self.trusted_roles,
            )
        except Exception as error:  # noqa: BLE001 - fail closed, whatever it was
            return self._broken(scope, error)

    async def no_text(self, scope: Scope, reason: str) -> Verdict:
        """The verdict on what is no text: the policy's `on_unscanned` decides."""
        try:
            action = (await self.ready()).policy.unscanned_action
        except Exception as error:  # noqa: BLE001 - fail closed, whatever it was
            return self._broken(scope, error)
        return replace(self.refused(scope, reason), action=action)

    def refused(self, scope: Scope, reason: str) -> Verdict:
        """Blocked as unscanned, whatever `on_unscanned` says; only shadow mode lets it pass."""
        return not_judged(reason, path=route_path(scope), guard=self._guard)

    def _broken(self, scope: Scope, error: Exception) -> Verdict:
        log_failure(_logger, error)
        return self.refused(scope, INTERNAL_ERROR)
