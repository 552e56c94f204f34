"""What several commands do with their options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from bertguard.guard import Guard
    from bertguard.segments import Channel

Number = TypeVar("Number", int, float)


def per_channel(
    options: Sequence[str], name: str, number: Callable[[str], Number]
) -> dict[Channel, Number]:
    """`["0.9", "data=0.8"]` -> a number per channel; the later one wins.

    Raises:
        typer.BadParameter: not a number, or no such channel.
    """
    from bertguard.segments import Channel

    numbers: dict[Channel, Number] = {}
    for option in options:
        channel, equals, written = option.rpartition("=")
        try:
            channels = [Channel(channel)] if equals else list(Channel)
            value = number(written)
        except ValueError:
            raise typer.BadParameter(
                "use a number such as 0.9, or one per channel such as prompt=0.9 and data=0.8"
                if number is float
                else "use a whole number such as 300, or one per channel such as data=300",
                param_hint=name,
            ) from None
        numbers |= dict.fromkeys(channels, value)
    return numbers


def patient_guard(
    checkpoint: str | Path | None, *, device: str, backend: str | None = None
) -> Guard:
    """A guard for files: nobody waits for a verdict, so no text times out or is cut or turned away.

    1,000,000 windows are about 600 MB of text: beyond that nobody meant it.
    """
    import sys

    from bertguard.guard import Guard

    return Guard.load(
        checkpoint,
        device=device,
        backend=backend,
        timeout_seconds=24 * 3600.0,
        max_windows=1_000_000,
        max_waiting_chars=sys.maxsize,
    )
