"""Many waiting checks, one model call: batches form while the model runs.

There is no wait knob, no polling and no idle task. A worker thread that becomes free takes the
checks that have had the least service so far (`waiting.py`), so a short prompt never stands behind
a long document, and a long document is cut over many batches and several workers (all but one,
while short ones keep coming). A check is a lazy iterator of windows: reading the body, the views
and the tokenization happen in the worker as well, piece by piece, and never on an event loop.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Generic

from bertguard.errors import QueueFullError, ScorerError
from bertguard.scoring import Window
from bertguard.waiting import Check, Key, Queue, Scored, closed

__all__ = ["MicroBatcher", "Scored"]


def _stop(queue: Queue[Key], threads: list[threading.Thread], pid: int) -> None:
    if pid != os.getpid():  # forked: threads, lock and callers are the parent's
        return
    with queue.changed:
        queue.closed = True
        left, queue.heap = queue.heap, []
        queue.changed.notify_all()
    for _, _, check in left:
        queue.drop(check, closed())
    for thread in threads:
        if thread is not threading.current_thread():
            thread.join(timeout=5)


class MicroBatcher(Generic[Key]):
    """Runs checks of many callers through one model, from any thread and any event loop.

    Args:
        score: windows -> probabilities; called from up to `workers` threads at once.
        workers: number of threads, the scorer's `parallelism`.
        max_batch_tokens: bound on `longest x count` of one model call.
        max_waiting_cost: bound on the summed `cost` of everything not answered yet. One check
            alone is always taken, whatever its cost.
    """

    def __init__(
        self,
        score: Callable[[Sequence[Window]], Sequence[float]],
        *,
        workers: int = 1,
        max_batch_tokens: int = 1024,
        max_waiting_cost: int = 4_000_000,
    ) -> None:
        self._score = score
        self._workers = workers
        self._max_batch_tokens = max_batch_tokens
        self._max_waiting_cost = max_waiting_cost
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._queue: Queue[Key] = Queue(self._score, self._max_batch_tokens, self._workers)
        self._threads: list[threading.Thread] = []
        self._stop = weakref.finalize(self, _stop, self._queue, self._threads, self._pid)

    def submit(
        self,
        windows: Iterator[tuple[Key, Window]],
        *,
        cost: int,
        timeout_seconds: float,
        cost_when_read: Callable[[], int] | None = None,
        scored: list[Scored[Key]] | None = None,
    ) -> Future[list[Scored[Key]]]:
        """Queue one check; its future ends with the scores, in no particular order.

        `cost` is its share of the waiting room (characters, say); where it is a guess,
        `cost_when_read` is asked for the true one after the first window. Cancelling the future
        drops what has not been scored yet. `scored` is filled as scores come in, for a caller who
        wants those there are where the check fails half way.

        Raises:
            QueueFullError: too much is waiting already.
            ScorerError: the batcher was closed.
        """
        if self._pid != os.getpid():  # forked: the threads stayed behind in the parent
            self._stop.detach()
            self._start()
        queue = self._queue
        future: Future[list[Scored[Key]]] = Future()
        deadline = time.monotonic() + timeout_seconds
        check = Check(
            windows, deadline, future, [] if scored is None else scored, cost, cost_when_read
        )
        with queue.changed:
            if queue.closed:
                raise ScorerError("the guard is closed")
            if queue.waiting_cost and queue.waiting_cost + cost > self._max_waiting_cost:
                raise QueueFullError(
                    f"{queue.waiting_cost} characters are waiting to be scored and {cost} more "
                    f"would pass the bound of {self._max_waiting_cost}; try again later"
                )
            queue.waiting_cost += cost
            future.add_done_callback(lambda _: queue.release(check))
            queue.push(check)
            if not self._threads:
                for number in range(self._workers):
                    thread = threading.Thread(
                        target=queue.work, name=f"bertguard-{number}", daemon=True
                    )
                    self._threads.append(thread)
                    thread.start()
            queue.changed.notify()
        return future

    @property
    def waiting_cost(self) -> int:
        """The summed cost of the checks that have no answer yet."""
        return self._queue.waiting_cost

    def close(self) -> None:
        """Stop the workers; checks that are still waiting end with a ScorerError."""
        self._stop()
