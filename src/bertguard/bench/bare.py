"""The yardstick: the model's own session, with no guard around it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bertguard.scoring import Scorer, Window

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Feed = dict[str, "NDArray[np.int64]"]


@dataclass(frozen=True, slots=True)
class Arrangement:
    """One way to cut the cores: calls that run side by side, and windows in each of them."""

    name: str
    calls: tuple[Callable[[], int], ...]

    def tokens_in(self, seconds: float) -> tuple[int, float]:
        """Real tokens that went through, and the seconds that it took."""
        end = time.perf_counter() + seconds
        done = [0] * len(self.calls)

        def work(number: int) -> None:
            while time.perf_counter() < end:
                done[number] += self.calls[number]()

        begun = time.perf_counter()
        threads = [threading.Thread(target=work, args=(n,)) for n in range(len(self.calls))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(done), time.perf_counter() - begun


class BareModel:
    """A checkpoint's int8 file in sessions of any number of threads.

    Args:
        file: an ONNX model with the inputs of a guard.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def session(self, threads: int) -> Callable[[Feed], object]:
        """A session with so many threads, opened as the guard opens its own."""
        from bertguard.model.onnx_scorer import open_session

        made = open_session(self._file, threads=threads)
        names = {node.name for node in made.get_inputs()}  # type: ignore[attr-defined]  # onnxruntime is untyped
        return lambda feed: made.run(None, {name: feed[name] for name in names})  # type: ignore[attr-defined]  # the same

    def arrangements(
        self, windows: Sequence[Window], cores: int, batches: Sequence[int] = (1, 4, 16)
    ) -> list[Arrangement]:
        """One-thread sessions on every core, and one session with all of them, batch by batch."""
        found = []
        for count in batches:
            feeds = [feed_of(batch) for batch in _batches(windows, count)]
            ways = [(1, cores), (cores, 1)] if cores > 1 else [(1, 1)]
            for threads, sessions in ways:
                runs = [self.session(threads) for _ in range(sessions)]
                calls = tuple(_in_turn(run, feeds, n) for n, run in enumerate(runs))
                name = f"{sessions} x {threads} thread{'s' * (threads > 1)}, batch {count}"
                found.append(Arrangement(name, calls))
        return found


def feed_of(windows: Sequence[Window]) -> Feed:
    """Windows as one padded batch: three arrays `(batch, tokens)`."""
    import numpy as np

    longest = max(len(window.ids) for window in windows)
    ids = np.zeros((len(windows), longest), dtype=np.int64)
    mask = np.zeros_like(ids)
    kinds = np.zeros_like(ids)
    for row, window in enumerate(windows):
        ids[row, : len(window.ids)] = window.ids
        mask[row, : len(window.ids)] = 1
        kinds[row] = window.channel
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": kinds}


def one_by_one(
    scorer: Scorer, windows: Sequence[Window], file: Path | None
) -> Callable[[], object]:
    """A call that sends these windows through the bare model: its session where there is one."""
    if file is None:
        return lambda: scorer.score(windows)
    run = BareModel(file).session(1)
    feeds = [feed_of([window]) for window in windows]
    return lambda: [run(feed) for feed in feeds]


def scorer_arrangements(
    scorer: Scorer, windows: Sequence[Window], batches: Sequence[int] = (1, 16, 64)
) -> list[Arrangement]:
    """The same for a scorer that has no file of its own to open."""
    found = []
    for count in batches:
        cut = _batches(windows, count)
        calls = tuple(_scoring(scorer, cut, number) for number in range(scorer.parallelism))
        found.append(Arrangement(f"{len(calls)} x the scorer, batch {count}", calls))
    return found


def _batches(windows: Sequence[Window], count: int) -> list[list[Window]]:
    """In the order of their lengths, so that little is padding: the best that a batch can be."""
    if count == 1:
        return [[window] for window in windows]
    ordered = sorted(windows, key=lambda window: len(window.ids))
    return [ordered[first : first + count] for first in range(0, len(ordered), count)]


def _in_turn(run: Callable[[Feed], object], feeds: Sequence[Feed], first: int) -> Callable[[], int]:
    # Neighbours start at different places, and each goes through all of them with a stride that
    # has nothing in common with the number of feeds, so that a short run sees long and short.
    place = first * (len(feeds) // 2)
    stride = _stride(len(feeds))
    tokens = [int(feed["attention_mask"].sum()) for feed in feeds]

    def call() -> int:
        nonlocal place
        place = (place + stride) % len(feeds)
        run(feeds[place])
        return tokens[place]

    return call


def _scoring(scorer: Scorer, batches: Sequence[Sequence[Window]], first: int) -> Callable[[], int]:
    place = first * (len(batches) // 2)
    stride = _stride(len(batches))

    def call() -> int:
        nonlocal place
        place = (place + stride) % len(batches)
        scorer.score(batches[place])
        return sum(len(window.ids) for window in batches[place])

    return call


def _stride(count: int) -> int:
    """Near the golden section of `count`, and without a common divisor."""
    import math

    stride = max(1, round(count * 0.618))
    while math.gcd(stride, count) > 1:
        stride += 1
    return stride
