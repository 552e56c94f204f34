"""A text that was scored before costs no model call, and says the same again."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence

import pytest

from bertguard import Channel, Guard, Segment
from bertguard.memory import Hit, Memory, SegmentScores
from bertguard.scoring import Window
from support import ATTACK, BENIGN, KeywordScorer


class Counting(KeywordScorer):
    """Counts what goes through the model."""

    def __init__(self) -> None:
        super().__init__()
        self.scored = 0

    def score(self, windows: Sequence[Window]) -> Sequence[float]:
        self.scored += len(windows)
        return super().score(windows)


def turns(count: int) -> bytes:
    return json.dumps(
        {
            "messages": [
                {"role": "user" if n % 2 == 0 else "assistant", "content": f"turn number {n} " * 9}
                for n in range(count)
            ]
        }
    ).encode()


async def test_a_growing_chat_costs_its_new_text() -> None:
    """Fifty turns resent with every turn: windows grow with the turns, not with their square."""
    scorer = Counting()
    with Guard(scorer) as guard:
        costs = []
        for count in range(1, 51):
            before = scorer.scored
            await guard.check_body(turns(count), path="/v1/chat/completions")
            costs.append(scorer.scored - before)
    # One new turn, and the last user turns joined anew.
    assert max(costs[30:]) <= max(costs[10:30])


@pytest.mark.parametrize("text", [BENIGN, f"{BENIGN} {ATTACK}", f"{ATTACK}\u200b"])
async def test_the_second_verdict_is_the_first(text: str) -> None:
    """Action, scores, places and counts."""
    scorer = Counting()
    with Guard(scorer) as guard:
        first = await guard.check(text, "data")
        scored = scorer.scored
        assert await guard.check(text, "data") == first
        assert scorer.scored == scored
        await guard.check(text, "prompt")  # the other channel is another question
        assert scorer.scored > scored


async def test_nothing_is_remembered_where_nothing_may_be() -> None:
    """`remembered_texts=0`."""
    scorer = Counting()
    with Guard(scorer, remembered_texts=0) as guard:
        await guard.check(BENIGN)
        await guard.check(BENIGN)
        assert scorer.scored == 2
        assert len(guard.memory) == 0


async def test_a_text_that_was_not_scored_whole_is_scored_again() -> None:
    """A verdict that says unscanned is not remembered as a clean one."""
    scorer = Counting()
    with Guard(scorer, max_windows=1) as guard:
        text = "word " * 500
        assert (await guard.check(text)).unscanned
        assert len(guard.memory) == 0
        assert (await guard.check(text)).unscanned


async def test_an_attempt_goes_on_from_where_the_last_one_broke_off() -> None:
    """What was scored whole stays where time runs out or the model fails, and nothing else."""

    class Limited(Counting):
        parallelism = 1
        left = 0

        def score(self, windows: Sequence[Window]) -> Sequence[float]:
            self.left -= len(windows)
            if self.left < 0:
                raise RuntimeError("no more")
            return super().score(windows)

    scorer = Limited()
    segments = [Segment(f"text number {number}") for number in range(50)]
    long = Segment("word " * 500)
    with Guard(scorer, max_batch_tokens=1) as guard:
        for attempt in range(1, 6):
            scorer.left = 10
            verdict = await guard.check_segments(segments)
            assert bool(verdict.unscanned) == (attempt < 5)
        assert scorer.scored == 50
        scorer.left = 10
        assert (await guard.check_segments([*segments, long])).unscanned
        assert len(guard.memory) == 50


def test_it_is_bounded_and_forgets_the_oldest_use() -> None:
    """Least recently seen first."""
    memory = Memory(2)
    texts = [memory.key(Segment(name)) for name in "abc"]
    scores = SegmentScores(0.5, (Hit(0, 1, 0.5, "as_written"),))
    memory.keep(texts[0], scores)
    memory.keep(texts[1], scores)
    assert memory.recall(texts[0]) == scores
    memory.keep(texts[2], scores)
    assert memory.recall(texts[1]) is None
    assert memory.recall(texts[0]) == scores
    assert (len(memory), memory.tally.hits, memory.tally.misses) == (2, 2, 1)


def test_it_holds_no_text() -> None:
    """Only keyed hashes; another process hashes otherwise."""
    memory = Memory(10)
    segment = Segment(ATTACK, channel=Channel.DATA)
    memory.keep(memory.key(segment), SegmentScores(0.9, ()))
    assert ATTACK.encode() not in pickle.dumps(dict(memory._scores))
    assert Memory(10).key(segment) != memory.key(segment)
