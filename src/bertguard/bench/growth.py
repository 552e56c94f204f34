"""What a longer text costs, and what a chat costs that is resent with every turn."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from statistics import median

from bertguard.bench.texts import text_of
from bertguard.bench.timed import TimedScorer
from bertguard.guard import Guard
from bertguard.scoring import Scorer
from bertguard.segments import Segment

CHARS = (1_000, 10_000, 100_000, 1_000_000)
TURNS = 50
_PATH = "/v1/chat/completions"


def measure_growth(guard: Guard, longest: int) -> list[dict[str, float]]:
    """Cost per token of texts from 1,000 characters on; `ratio` is against the shortest.

    Texts of one size are checked together, so that the short ones fill the cores as well.
    """
    rows: list[dict[str, float]] = []
    for chars in (size for size in CHARS if size <= longest):
        repeats = max(1, min(40, 40_000 // chars))
        texts = [text_of(chars // 3, seed)[:chars] for seed in range(repeats)]
        tokens = sum(
            len(window.ids) for text in texts for window in guard.scorer.windows(text, "prompt")
        )
        guard.check_sync(texts[0][:500])
        begun = time.perf_counter()
        # As one request of several texts: each has its own windows, none waits for another.
        guard.check_segments_sync([Segment(text) for text in texts])
        per_token = (time.perf_counter() - begun) / tokens * 1e6
        first = rows[0]["us_per_token"] if rows else per_token
        rows.append(
            {
                "chars": chars,
                "tokens": tokens // repeats,
                "us_per_token": per_token,
                "ratio": per_token / first,
            }
        )
    return rows


def measure_chat(scorer: Scorer, rounds: int) -> list[dict[str, object]]:
    """A chat of 50 turns through `check_body`, resent whole with every turn; milliseconds.

    `new_ms` is the time in tokenizer and model for what this turn brought: the new turn, and the
    last user turns joined, since an attack may be cut between them; `alone_ms` is the model's time
    for the new turn by itself. The rest of `turn_ms` is `overhead_ms`: reading the body whole,
    remembering, views, queue and policy. One worker, so that nothing is hidden behind another;
    medians of `rounds` chats, averages of ten turns.
    """
    timed = TimedScorer(scorer)
    turns = [text_of(40 + 7 * (number % 9), 1000 + number) for number in range(TURNS)]
    measured: list[list[tuple[float, float, float]]] = [[] for _ in turns]
    for number in range(max(1, rounds)):
        own = [f"{number} {turn}" for turn in turns]
        with Guard(timed) as guard:
            guard.check_sync("Is anybody there?")
            for turn in range(TURNS):
                body = _body(own[: turn + 1])
                windows = list(scorer.windows(own[turn], "prompt"))
                timed.clear()
                begun = time.perf_counter()
                scorer.score(windows)
                between = time.perf_counter()
                guard.check_body_sync(body, path=_PATH)
                whole = time.perf_counter() - between
                new = timed.score_seconds + timed.windows_seconds
                measured[turn].append((whole, new, between - begun))
    rows: list[dict[str, object]] = []
    for first in range(0, TURNS, 10):
        part = measured[first : first + 10]
        turn_ms, new_ms, alone_ms = (
            sum(median(times[column] for times in turn) for turn in part) / len(part) * 1e3
            for column in range(3)
        )
        rows.append(
            {
                "turns": f"{first + 1} to {first + 10}",
                "turn_ms": turn_ms,
                "alone_ms": alone_ms,
                "new_ms": new_ms,
                "overhead_ms": turn_ms - new_ms,
                "ratio": turn_ms / new_ms,
            }
        )
    return rows


def _body(turns: Sequence[str]) -> bytes:
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": turn} for n, turn in enumerate(turns)]
    return json.dumps({"model": "none", "messages": messages}).encode()
