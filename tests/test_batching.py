"""MicroBatcher: who is served when, what a batch may hold, and how waiting ends."""

from __future__ import annotations

import gc
import math
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertguard.batching import MicroBatcher, Scored
from bertguard.errors import DeadlineError, QueueFullError, ScorerError, UnreadableError
from bertguard.scoring import Window


def window(number: int, length: int = 1) -> Window:
    return Window((number,) * length, 0, number, number + 1)


def windows(numbers: Sequence[int], length: int = 1) -> Iterator[tuple[str, Window]]:
    for number in numbers:
        yield "key", window(number, length)


def score_of(number: int) -> float:
    return (number % 97) / 97


class Model:
    """Scores a window by its first id, notes every batch, and waits where it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[Window]] = []
        self.started = threading.Semaphore(0)
        self.go = threading.Event()
        self.go.set()

    def __call__(self, batch: Sequence[Window]) -> Sequence[float]:
        self.batches.append(list(batch))
        self.started.release()
        self.go.wait(timeout=10)
        return [score_of(item.ids[0]) for item in batch]

    @property
    def seen(self) -> list[int]:
        return [item.ids[0] for batch in self.batches for item in batch]


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def make(model: Model) -> Iterator[Callable[..., MicroBatcher[str]]]:
    """Batchers that are closed at the end, with the model let go first."""
    made: list[MicroBatcher[str]] = []

    def build(score: object = model, **options: int) -> MicroBatcher[str]:
        made.append(MicroBatcher(score, **options))  # type: ignore[arg-type]
        return made[-1]

    yield build
    model.go.set()
    for batcher in made:
        batcher.close()


def submit(
    batcher: MicroBatcher[str], numbers: Sequence[int], *, length: int = 1, cost: int = 1
) -> Future[list[Scored[str]]]:
    return batcher.submit(windows(numbers, length), cost=cost, timeout_seconds=10)


def occupy(batcher: MicroBatcher[str], model: Model) -> Future[list[Scored[str]]]:
    """Keep the only worker busy until `model.go` is set."""
    model.go.clear()
    future = submit(batcher, [0])
    assert model.started.acquire(timeout=10)
    return future


# -- what a batch is -------------------------------------------------------------------------------


@given(
    checks=st.lists(st.lists(st.integers(1, 40), max_size=12), min_size=1, max_size=8),
    workers=st.integers(1, 3),
    max_batch_tokens=st.integers(1, 120),
)
def test_batching_changes_no_score_and_bounds_padding(
    checks: list[list[int]], workers: int, max_batch_tokens: int
) -> None:
    """Each window gets its own score once, whatever it shares a batch with.

    `longest x count` stays within the bound, and so does the share of padding; a window that is
    longer than the bound goes alone.
    """
    model = Model()
    batcher: MicroBatcher[int] = MicroBatcher(
        model, workers=workers, max_batch_tokens=max_batch_tokens
    )
    try:
        numbers = iter(range(10_000))
        sent = [[window(next(numbers), length) for length in lengths] for lengths in checks]
        futures = [
            batcher.submit(iter([(index, w) for w in check]), cost=1, timeout_seconds=10)
            for index, check in enumerate(sent)
        ]
        answers = [future.result(timeout=10) for future in futures]
    finally:
        batcher.close()
    for index, (check, answer) in enumerate(zip(sent, answers, strict=True)):
        expected = [Scored(index, w.start, w.end, score_of(w.ids[0])) for w in check]
        assert sorted(answer, key=lambda scored: scored.start) == expected
    assert sorted(model.seen) == list(range(sum(map(len, checks))))
    for batch in model.batches:
        lengths = [len(item.ids) for item in batch]
        padded = max(lengths) * len(lengths)
        assert len(batch) == 1 or padded <= max_batch_tokens
        assert padded <= 1.25 * sum(lengths)


def test_waiting_checks_share_a_batch(make: Callable[..., MicroBatcher[str]], model: Model) -> None:
    """What came in while the model was busy goes through it together."""
    batcher = make()
    first = occupy(batcher, model)
    others = [submit(batcher, [number]) for number in range(1, 9)]
    model.go.set()
    assert [len(future.result(timeout=10)) for future in (first, *others)] == [1] * 9
    assert [len(batch) for batch in model.batches] == [1, 8]


def test_a_check_without_windows_has_an_answer(make: Callable[..., MicroBatcher[str]]) -> None:
    """Nothing to score is an empty list, not a wait."""
    assert submit(make(), []).result(timeout=10) == []


# -- who is served when ----------------------------------------------------------------------------


def test_a_short_check_does_not_stand_behind_a_long_one(
    make: Callable[..., MicroBatcher[str]], model: Model
) -> None:
    """With 4,096 windows under way on the only worker, a new check is in the very next batch."""
    batcher = make(max_batch_tokens=256)
    model.go.clear()
    long = submit(batcher, range(4096), length=64)
    assert model.started.acquire(timeout=10)
    short = submit(batcher, [5000], length=64)
    model.go.set()
    short.result(timeout=10)
    assert 5000 in [item.ids[0] for item in model.batches[1]]
    assert len(long.result(timeout=30)) == 4096
    assert len(model.batches) >= 4096 * 64 // 256


def test_a_long_check_is_spread_over_the_workers(make: Callable[..., MicroBatcher[str]]) -> None:
    """Two workers score windows of one check at the same time."""
    together = threading.Barrier(2, timeout=10)

    def score(batch: Sequence[Window]) -> Sequence[float]:
        together.wait()
        return [0.5] * len(batch)

    assert len(submit(make(score, workers=2, max_batch_tokens=1), range(8)).result(timeout=10)) == 8


def test_long_checks_leave_a_worker_free_while_short_ones_come(
    make: Callable[..., MicroBatcher[str]],
) -> None:
    """After a short answer a document keeps one of two workers, until a second has passed."""
    running, most = 0, 0
    lock = threading.Lock()

    def score(batch: Sequence[Window]) -> Sequence[float]:
        nonlocal running, most
        long = batch[0].ids[0] < 5000
        with lock:
            running += long
            most = max(most, running)
        time.sleep(0.002)
        with lock:
            running -= long
        return [0.5] * len(batch)

    batcher = make(score, workers=2, max_batch_tokens=1)
    alone = submit(batcher, range(20), length=512)
    assert len(alone.result(timeout=10)) == 20
    assert most == 2  # nobody else is there
    document = submit(batcher, range(1000), length=512)
    submit(batcher, [5000]).result(timeout=10)
    time.sleep(0.05)
    most = 0
    for _ in range(20):
        submit(batcher, [5000]).result(timeout=10)
    assert most <= 1
    document.cancel()
    last = submit(batcher, range(1000), length=512)
    assert len(last.result(timeout=30)) == 1000
    assert most == 2  # the short ones have stopped coming


def test_windows_are_made_on_demand_and_never_by_the_caller(
    make: Callable[..., MicroBatcher[str]], model: Model
) -> None:
    """Reading and tokenizing happen in a worker, no further ahead than one batch."""
    makers: list[str] = []

    def lazy() -> Iterator[tuple[str, Window]]:
        for number in range(100):
            makers.append(threading.current_thread().name)
            yield "key", window(number)

    batcher = make(max_batch_tokens=10)
    model.go.clear()
    future = batcher.submit(lazy(), cost=1, timeout_seconds=10)
    assert model.started.acquire(timeout=10)
    made = len(makers)
    model.go.set()
    assert len(future.result(timeout=10)) == 100
    assert 10 <= made <= 11  # the first that did not fit any more
    assert threading.current_thread().name not in makers


# -- how waiting ends ------------------------------------------------------------------------------


def test_cancelled_work_is_dropped_at_once(
    make: Callable[..., MicroBatcher[str]], model: Model
) -> None:
    """It is never scored, gives its place in the waiting room back, and lets its text go."""
    batcher = make(max_waiting_cost=10)
    first = occupy(batcher, model)
    texts = windows([1, 2, 3])
    gone = weakref.ref(texts)
    waiting = batcher.submit(texts, cost=9, timeout_seconds=10)
    del texts
    with pytest.raises(QueueFullError):
        submit(batcher, [4], cost=9)
    waiting.cancel()
    assert batcher.waiting_cost == 1
    assert gone() is None
    last = submit(batcher, [4], cost=9)
    model.go.set()
    assert first.result(timeout=10)
    assert last.result(timeout=10)
    with pytest.raises(CancelledError):
        waiting.result(timeout=10)
    assert model.seen == [0, 4]
    assert batcher.waiting_cost == 0


def test_a_guess_at_the_cost_is_replaced_when_the_text_is_read(
    make: Callable[..., MicroBatcher[str]], model: Model
) -> None:
    """A body that is mostly a picture makes room for others, one that is all text takes its own."""
    batcher = make(max_waiting_cost=10)
    model.go.clear()
    read = batcher.submit(windows([0]), cost=9, cost_when_read=lambda: 2, timeout_seconds=10)
    assert model.started.acquire(timeout=10)
    assert batcher.waiting_cost == 2
    unread = batcher.submit(windows([1]), cost=8, cost_when_read=lambda: 50, timeout_seconds=10)
    assert batcher.waiting_cost == 10
    model.go.set()
    assert read.result(timeout=10)
    assert unread.result(timeout=10)
    assert batcher.waiting_cost == 0


def test_a_check_under_way_stops_when_it_is_cancelled(
    make: Callable[..., MicroBatcher[str]], model: Model
) -> None:
    """No batch is formed of it any more; what is in the model is let finish."""
    batcher = make(max_batch_tokens=4)
    model.go.clear()
    long = submit(batcher, range(1000))
    assert model.started.acquire(timeout=10)
    long.cancel()
    model.go.set()
    assert submit(batcher, [5000]).result(timeout=10)
    assert model.seen == [0, 1, 2, 3, 5000]


def test_a_missed_deadline_is_an_error_without_work(
    make: Callable[..., MicroBatcher[str]], model: Model
) -> None:
    """A check whose time is over when its turn comes is not scored."""
    batcher = make()
    occupy(batcher, model)
    late = batcher.submit(windows([1]), cost=1, timeout_seconds=-1)
    model.go.set()
    with pytest.raises(DeadlineError):
        late.result(timeout=10)
    assert model.seen == [0]


def test_a_full_queue_refuses_at_once(make: Callable[..., MicroBatcher[str]], model: Model) -> None:
    """Beyond the bound the error says how much waits; one check alone is always taken."""
    batcher = make(max_waiting_cost=10)
    model.go.clear()
    alone = submit(batcher, [1], cost=1000)
    with pytest.raises(QueueFullError, match=r"1000 characters are waiting .* bound of 10"):
        submit(batcher, [2], cost=1)
    model.go.set()
    assert alone.result(timeout=10)
    assert batcher.waiting_cost == 0
    assert submit(batcher, [3], cost=1).result(timeout=10)


@pytest.mark.parametrize(
    "scores",
    [[], [0.5, 0.5], [math.nan], [math.inf], [-0.1], [1.1]],
    ids=["none", "too-many", "nan", "inf", "below", "above"],
)
def test_what_is_no_probability_is_an_error(
    make: Callable[..., MicroBatcher[str]], scores: list[float]
) -> None:
    """A NaN is below every threshold: unnoticed, it would let everything pass."""
    with pytest.raises(ScorerError, match="not a probability"):
        submit(make(lambda batch: scores), [1]).result(timeout=10)


def test_no_probability_for_one_text_fails_no_other(
    make: Callable[..., MicroBatcher[str]], model: Model
) -> None:
    """Whoever can make the model say NaN has no say over texts that share its batch."""

    def score(batch: Sequence[Window]) -> Sequence[float]:
        found = model(batch)
        return [math.nan if w.ids[0] == 13 else s for w, s in zip(batch, found, strict=True)]

    batcher = make(score)
    model.go.clear()
    first = submit(batcher, [1])
    model.started.acquire()
    good, bad, several = (submit(batcher, numbers) for numbers in ([2], [13], [3, 13, 4]))
    model.go.set()
    assert [item.score for item in good.result(timeout=10)] == [score_of(2)]
    for check in (bad, several):
        with pytest.raises(ScorerError, match="not a probability"):
            check.result(timeout=10)
    assert first.result(timeout=10)
    assert len(model.batches) < 4, "the texts were not in one batch"
    assert batcher.waiting_cost == 0


def test_a_model_that_raises_fails_its_batch_and_nothing_else(
    make: Callable[..., MicroBatcher[str]],
) -> None:
    """The error names the type alone, since a foreign message may quote text; work goes on."""

    def score(batch: Sequence[Window]) -> Sequence[float]:
        if any(item.ids[0] == 13 for item in batch):
            raise ValueError("cannot score: the text")
        return [0.5] * len(batch)

    batcher = make(score)
    with pytest.raises(ScorerError, match=r"^scoring failed with ValueError$"):
        submit(batcher, range(20)).result(timeout=10)
    assert submit(batcher, [1]).result(timeout=10)
    assert batcher.waiting_cost == 0


@pytest.mark.parametrize("raised", [SystemExit, KeyboardInterrupt, BaseException])
def test_no_error_ends_a_worker(
    make: Callable[..., MicroBatcher[str]], raised: type[BaseException]
) -> None:
    """A panic in a library of Rust is no `Exception`; the next check is answered all the same."""

    def score(batch: Sequence[Window]) -> Sequence[float]:
        if batch[0].ids[0] == 13:
            raise raised
        return [0.5] * len(batch)

    def broken() -> Iterator[tuple[str, Window]]:
        raise raised
        yield "key", window(0, 1)

    batcher = make(score)
    for check in (windows([13]), broken()):
        with pytest.raises(ScorerError, match=f"failed with {raised.__name__}"):
            batcher.submit(check, cost=1, timeout_seconds=10).result(timeout=10)
    assert submit(batcher, [1]).result(timeout=10)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [(UnreadableError("nan", "no number"), UnreadableError), (KeyError("text"), ScorerError)],
)
def test_an_error_while_windows_are_made_is_the_answer(
    make: Callable[..., MicroBatcher[str]], raised: Exception, expected: type[Exception]
) -> None:
    """Our own errors arrive as they are, others as a ScorerError without their message."""

    def broken() -> Iterator[tuple[str, Window]]:
        yield "key", window(1)
        raise raised

    with pytest.raises(expected) as caught:
        make().submit(broken(), cost=1, timeout_seconds=10).result(timeout=10)
    assert caught.value is raised or "text" not in str(caught.value)


def test_scores_that_came_before_a_failure_are_kept(
    make: Callable[..., MicroBatcher[str]],
) -> None:
    """`scored` is filled on the way, so a caller may use what there is."""

    def score(batch: Sequence[Window]) -> Sequence[float]:
        if batch[0].ids[0] == 2:
            raise ValueError
        return [0.5] * len(batch)

    scored: list[Scored[str]] = []
    future = make(score, max_batch_tokens=1).submit(
        windows([0, 1, 2, 3]), cost=1, timeout_seconds=10, scored=scored
    )
    with pytest.raises(ScorerError):
        future.result(timeout=10)
    assert [item.start for item in scored] == [0, 1]


# -- life ------------------------------------------------------------------------------------------


def test_closing_ends_all_waiting_and_refuses_more(
    make: Callable[..., MicroBatcher[str]], model: Model
) -> None:
    """Whoever waits gets an error, the one in the middle of a long text too."""
    batcher = make(max_batch_tokens=1)
    model.go.clear()
    long = submit(batcher, range(100))
    assert model.started.acquire(timeout=10)
    waiting = submit(batcher, [1])
    closer = threading.Thread(target=batcher.close)
    closer.start()
    for future in (long, waiting):
        with pytest.raises(ScorerError, match="closed"):
            future.result(timeout=10)
    model.go.set()
    closer.join(timeout=10)
    assert not any(thread.is_alive() for thread in batcher._threads)
    with pytest.raises(ScorerError, match="closed"):
        submit(batcher, [1])
    batcher.close()


def test_closing_while_a_batch_is_formed_leaves_nobody_waiting(
    make: Callable[..., MicroBatcher[str]], model: Model
) -> None:
    """A check that a worker holds in its hands at that moment ends as well."""
    batcher = make(max_batch_tokens=1)
    reading, closed = threading.Event(), threading.Event()

    def slow_to_read() -> Iterator[tuple[str, Window]]:
        reading.set()
        closed.wait(timeout=10)
        yield "key", window(1)
        yield "key", window(2)

    future = batcher.submit(slow_to_read(), cost=1, timeout_seconds=60)
    assert reading.wait(timeout=10)
    closer = threading.Thread(target=batcher.close)
    closer.start()
    while not batcher._queue.closed:
        closer.join(timeout=0.001)
    closed.set()
    with pytest.raises(ScorerError, match="closed"):
        future.result(timeout=10)
    closer.join(timeout=10)


@pytest.mark.parametrize("ending", ["answered", "failed", "cancelled"])
def test_a_forgotten_batcher_ends_its_threads(model: Model, ending: str) -> None:
    """Threads start with the first check and end with the last reference, however it ended."""
    before = threading.active_count()
    batcher: MicroBatcher[str] = MicroBatcher(model, workers=2)
    assert threading.active_count() == before

    def text(holder: object) -> Iterator[tuple[str, Window]]:
        yield "key", window(1)
        if ending == "failed":
            raise ValueError
        yield "key", window(2)

    if ending == "cancelled":
        model.go.clear()
    # The check holds the batcher, as a check of a Guard holds the guard.
    future = batcher.submit(text(batcher), cost=1, timeout_seconds=10)
    threads = list(batcher._threads)
    assert len(threads) == 2
    if ending == "cancelled":
        assert model.started.acquire(timeout=10)
        future.cancel()
        model.go.set()
    else:
        error = future.exception(timeout=10)
        assert (error is not None) == (ending == "failed")
        del error
    gone = weakref.ref(batcher)
    del batcher, future
    for _ in range(200):  # the worker may hold its last batch for a moment
        gc.collect()
        if gone() is None:
            break
        threads[0].join(timeout=0.01)
    assert gone() is None
    for thread in threads:
        thread.join(timeout=10)
    assert threading.active_count() == before


def test_a_fork_starts_afresh() -> None:
    """A child scores with threads of its own, and its exit is not held up by its parent's.

    The parent forks while its worker is busy, a check is waiting and somebody holds the lock.
    """
    code = """
import os, threading
from bertguard.batching import MicroBatcher
from bertguard.scoring import Window

go, started = threading.Event(), threading.Event()
def score(batch):
    if os.getpid() == parent:
        started.set()
        go.wait(timeout=20)
    return [0.5] * len(batch)

parent = os.getpid()
batcher = MicroBatcher(score)
def ask(n):
    return batcher.submit(iter([("key", Window((1,), 0, 0, 1))] * n), cost=n, timeout_seconds=20)
first = ask(1)
started.wait(timeout=20)
second = ask(2)
held, forked = threading.Event(), threading.Event()
def hold():
    with batcher._queue.changed:
        held.set()
        forked.wait(timeout=20)
holder = threading.Thread(target=hold)
holder.start()
held.wait(timeout=20)
for used in (True, False):
    child = os.fork()
    if child == 0:
        if used:
            assert len(ask(3).result(timeout=20)) == 3
            assert batcher.waiting_cost == 0
        raise SystemExit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
forked.set()
holder.join()
go.set()
assert len(first.result(timeout=20)) == 1 and len(second.result(timeout=20)) == 2
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)  # noqa: S603 - our own code
