"""Who is told of every verdict: metrics, traces, an audit log. Standard library only."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from bertguard.verdict import Verdict

Observer = Callable[[Verdict, float], None]
"""Called with a verdict and the seconds that it took, where it was given: in the task that waits
for it (so a trace knows its request), or in the calling thread. It must not block."""

_logger = logging.getLogger("bertguard")


class Observers:
    """The observers of one guard, and of its twins under other policies."""

    def __init__(self) -> None:
        self._observers: tuple[Observer, ...] = ()
        self._lock = threading.Lock()

    def add(self, observer: Observer) -> None:
        """Tell this one as well, from now on."""
        with self._lock:
            self._observers = (*self._observers, observer)

    def tell(self, verdict: Verdict, seconds: float) -> None:
        """Tell everyone; an observer that fails is logged and changes no verdict."""
        for observer in self._observers:
            try:
                observer(verdict, seconds)
            except Exception as error:  # noqa: BLE001 - whatever it was, the verdict stands
                _logger.error(
                    "an observer of verdicts failed with %s: %s",
                    type(error).__name__,
                    getattr(observer, "__qualname__", type(observer).__name__),
                )
