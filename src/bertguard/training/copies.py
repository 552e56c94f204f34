"""One text in several rows: with both labels, or on both sides of a run. Said without the text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bertguard.training.examples import Example, text_key


def doubts(training: Sequence[Example], validation: Sequence[Example]) -> Iterator[str]:
    """What a run should be told of its rows, a line each; they are used as they are.

    Texts are compared whatever their case and spacing. One that is benign as a prompt may be an
    injection as data, so that labels are compared within a channel.
    """
    seen: dict[tuple[bytes, str], Example] = {}
    against: dict[tuple[bytes, str], tuple[Example, Example]] = {}
    for row in (*training, *validation):
        key = text_key(row.text), row.channel
        other = seen.setdefault(key, row)
        if other.label != row.label:
            against.setdefault(key, (other, row))
    if against:
        one, other = next(iter(against.values()))
        yield (
            f"{len(against):,} texts have both labels in one channel, the first of them at "
            f"{_place(one)} and {_place(other)}: neither can be learnt"
        )
    learnt: dict[bytes, Example] = {}
    for row in training:
        learnt.setdefault(text_key(row.text), row)
    both = [(row, learnt[text]) for row in validation if (text := text_key(row.text)) in learnt]
    if both:
        yield (
            f"{len(both):,} of {len(validation):,} validation rows are learnt from as well, the "
            f"first of them {_place(both[0][0])}, learnt at {_place(both[0][1])}: the metrics "
            "flatter, and so may the thresholds"
        )


def _place(row: Example) -> str:
    return row.place or f"source {row.source}"
