"""The waiting room: who is served next, and what goes through the model together.

Source: least-attained-service scheduling, Nuyens and Wierman, "The Foreground-Background queue",
Performance Evaluation 65 (2008); batches bounded by padded tokens as in
https://github.com/huggingface/text-embeddings-inference (core/src/queue.rs).
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from typing import Generic, TypeVar

from bertguard.errors import DeadlineError, GuardError, ScorerError
from bertguard.scoring import Window

Key = TypeVar("Key")

# A batch may hold this much padding before a window that fits badly waits for the next one.
_MAX_PADDED_SHARE = 1.25
# How many waiting checks are looked at for one batch: bounds the work of forming it.
_MAX_CHECKS_PER_BATCH = 64
# A check that has had this much service is long. While others come and go, long checks leave one
# worker free: a short one then waits for no window of a document.
_LONG_TOKENS = 2048
# Others come and go where one was answered within this time.
_RECENT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Scored(Generic[Key]):
    """The score of one window: `key` is what the check attached to it."""

    key: Key
    start: int
    end: int
    score: float


@dataclass(slots=True)
class Check(Generic[Key]):
    """One submitted check: its windows still to come, its scores so far."""

    windows: Iterator[tuple[Key, Window]]
    deadline: float
    future: Future[list[Scored[Key]]]
    scored: list[Scored[Key]]
    cost: int
    cost_when_read: Callable[[], int] | None = None
    next: tuple[Key, Window] | None = None
    served_tokens: int = 0
    in_flight: int = 0
    exhausted: bool = False


class Batch(Generic[Key]):
    """Windows that go through the model together; bounded by `longest x count`."""

    def __init__(self, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self.items: list[tuple[Check[Key], Key, Window]] = []
        self.longest = 0
        self.tokens = 0
        self.long = False

    def takes(self, window: Window) -> bool:
        if not self.items:
            return True
        padded = max(self.longest, len(window.ids)) * (len(self.items) + 1)
        return (
            padded <= self.max_tokens
            and padded <= (self.tokens + len(window.ids)) * _MAX_PADDED_SHARE
        )

    def add(self, check: Check[Key], key: Key, window: Window) -> None:
        self.items.append((check, key, window))
        self.longest = max(self.longest, len(window.ids))
        self.tokens += len(window.ids)


class Queue(Generic[Key]):
    """What workers and callers share. It holds no reference to the MicroBatcher, so that a
    forgotten batcher can be collected and its threads end."""

    def __init__(
        self,
        score: Callable[[Sequence[Window]], Sequence[float]],
        max_batch_tokens: int,
        workers: int,
    ) -> None:
        self.score = score
        self.max_batch_tokens = max_batch_tokens
        self.workers_for_long = max(1, workers - 1)
        self.long_in_flight = 0
        self.short_until = -math.inf
        self.changed = threading.Condition()
        self.heap: list[tuple[int, int, Check[Key]]] = []
        self.arrivals = itertools.count()
        self.waiting_cost = 0
        self.idle_workers = 0
        self.closed = False

    # -- callers ---------------------------------------------------------------------------

    def push(self, check: Check[Key]) -> None:
        heapq.heappush(self.heap, (check.served_tokens, next(self.arrivals), check))

    def settle(self, check: Check[Key], error: GuardError | None = None) -> None:
        """Give the check its answer, once; a check whose caller has gone is only forgotten."""
        if check.exhausted and error is None and check.in_flight:
            return
        try:
            if error is not None:
                check.future.set_exception(error)
            elif not check.future.done():
                check.future.set_result(check.scored)
        except InvalidStateError:
            pass  # cancelled or answered between the test and the call: nobody is waiting

    def release(self, check: Check[Key]) -> None:
        """Free what a check holds as soon as it has its answer, or is cancelled: its place in the
        waiting room and, through its windows, the text. What is left in the heap is a shell."""
        with self.changed:
            self.waiting_cost -= check.cost
        check.windows = iter(())
        check.cost_when_read = None
        check.next = None

    def weigh(self, check: Check[Key]) -> None:
        """Replace the guess at what a check costs, now that its text has been read."""
        with self.changed:
            ask, check.cost_when_read = check.cost_when_read, None
            if ask is not None and not check.future.done():
                cost = ask()
                self.waiting_cost += cost - check.cost
                check.cost = cost

    # -- the worker ------------------------------------------------------------------------

    def work(self) -> None:
        while True:
            with self.changed:
                while not self.closed and not self.has_work():
                    self.idle_workers += 1
                    self.changed.wait(self.short_until - time.monotonic() if self.heap else None)
                    self.idle_workers -= 1
                if self.closed:
                    return
            batch = self.form_batch()
            if batch.items:
                self.run_batch(batch)
                with self.changed:
                    self.long_in_flight -= batch.long
            del batch  # an idle worker must not keep a text, or a forgotten guard, alive

    def has_work(self) -> bool:
        """Whether this worker may take what has had the least service so far."""
        return bool(self.heap) and (
            self.heap[0][0] < _LONG_TOKENS
            or self.long_in_flight < self.workers_for_long
            or time.monotonic() >= self.short_until
        )

    def form_batch(self) -> Batch[Key]:
        batch: Batch[Key] = Batch(self.max_batch_tokens)
        looked_at: list[Check[Key]] = []
        for _ in range(_MAX_CHECKS_PER_BATCH):
            with self.changed:
                if batch.longest * len(batch.items) >= self.max_batch_tokens:
                    break
                if not self.has_work():
                    break
                if batch.items and self.idle_workers:
                    break  # a worker with nothing to do is sooner than a place in this batch
                check = heapq.heappop(self.heap)[2]
            # Outside the lock: producing windows reads bodies and tokenizes.
            if self.take_from(check, batch):
                looked_at.append(check)
        with self.changed:
            for check in looked_at:
                if self.closed:  # closed meanwhile: nobody will look at it again
                    self.drop(check, closed())
                else:
                    self.push(check)
            if self.heap:
                self.changed.notify()
        return batch

    def take_from(self, check: Check[Key], batch: Batch[Key]) -> bool:
        """Move windows of one check into the batch; True while it has more to come."""
        while True:
            if check.future.done():  # cancelled by its caller, or failed in another worker
                self.drop(check)
                return False
            if time.monotonic() > check.deadline:
                self.drop(check, DeadlineError("no score within the time allowed"))
                return False
            item = check.next
            if item is None:
                try:
                    item = next(check.windows, None)
                except GuardError as error:
                    self.drop(check, error)
                    return False
                except BaseException as error:  # noqa: BLE001 - whatever broke, the caller must hear
                    self.drop(check, _failure(error))
                    return False
                if check.cost_when_read is not None:
                    self.weigh(check)
            if item is None:
                with self.changed:
                    check.exhausted = True
                    self.settle(check)
                return False
            check.next = item
            key, window = item
            if not batch.takes(window):
                return True
            batch.add(check, key, window)
            check.next = None
            with self.changed:
                if check.served_tokens >= _LONG_TOKENS and not batch.long:
                    batch.long = True
                    self.long_in_flight += 1
                check.in_flight += 1
                check.served_tokens += len(window.ids)

    def drop(self, check: Check[Key], error: GuardError | None = None) -> None:
        with self.changed:
            check.exhausted = True
            check.in_flight = 0
            self.settle(check, error)

    def run_batch(self, batch: Batch[Key]) -> None:
        error: GuardError | None = None
        scores: Sequence[float] = ()
        sound: Sequence[bool] = ()
        try:
            scores = self.score([window for _, _, window in batch.items])
            if len(scores) != len(batch.items):
                error = _no_probability()
            # A NaN compares false with every threshold: unnoticed, it would let all pass. It is the
            # failure of its own text, and not of those that happen to be beside it.
            sound = [bool(0 <= score <= 1) for score in scores]
        except BaseException as caught:  # noqa: BLE001 - a panic in Rust is no Exception
            error = _failure(caught)
        with self.changed:
            for place, (check, key, window) in enumerate(batch.items):
                if error is not None or not sound[place]:
                    check.exhausted = True
                    self.settle(check, error or _no_probability())
                    continue
                check.in_flight -= 1
                check.scored.append(Scored(key, window.start, window.end, float(scores[place])))
                if check.exhausted and check.in_flight == 0:
                    if check.served_tokens < _LONG_TOKENS:
                        self.short_until = time.monotonic() + _RECENT_SECONDS
                    self.settle(check)


def _failure(error: BaseException) -> ScorerError:
    # The type alone: the message of a foreign error may quote the text.
    failure = ScorerError(f"scoring failed with {type(error).__name__}")
    failure.__cause__ = error
    return failure


def _no_probability() -> ScorerError:
    return ScorerError("the model returned something that is not a probability")


def closed() -> ScorerError:
    return ScorerError("the guard was closed while this text was waiting")
