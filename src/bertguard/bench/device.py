"""Torch on a device: texts per second, and the share of what the device multiplies."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from bertguard.bench.texts import mixed_texts
from bertguard.errors import MissingExtraError
from bertguard.guard import Guard

if TYPE_CHECKING:
    from pathlib import Path

_TEXTS = 400


def measure_device(
    checkpoint: str | None, device: str, seconds: float, *, directory: Path
) -> list[dict[str, object]]:
    """Guards around torch in fp32 and bf16 on a device, beside the CPU default; mixed lengths.

    `ratio` is texts per second against the CPU default in this run, `of_ceiling` the share of the
    measured matrix product in that dtype on that device (weight products only).

    Raises:
        MissingExtraError: torch is not installed.
        DeviceError: the device is not there.
    """
    if find_spec("torch") is None:
        raise MissingExtraError("guard bench device", "torch")
    from bertguard.bench.ceiling import operations_per_token, torch_ceiling
    from bertguard.model.torch_scorer import DTYPES, resolve_device

    where = resolve_device(device)
    texts = mixed_texts(_TEXTS)
    work = operations_per_token(directory)
    rows: list[dict[str, object]] = []
    default = 0.0
    ways: list[tuple[str, str | None, str]] = [("the CPU default", None, "fp32")]
    ways += [(f"torch, {where}, {dtype}", "torch", dtype) for dtype in ("fp32", "bf16")]
    for name, backend, dtype in ways:
        with Guard.load(
            checkpoint,
            device="cpu" if backend is None else str(where),
            backend=backend,
            dtype=dtype,
            remembered_texts=0,
            timeout_seconds=3600.0,
        ) as guard:
            tokens = [
                sum(len(window.ids) for window in guard.scorer.windows(text, "prompt"))
                for text in texts
            ]
            # A GPU needs many windows at once; a CPU is busy with one per core.
            callers = 64 if backend is None or where.type == "cpu" else 1024
            asyncio.run(_ask(guard, texts, tokens, seconds / 4, callers))  # warm
            asked, counted, took = asyncio.run(_ask(guard, texts, tokens, seconds, callers))
        default = default or asked / took
        row: dict[str, object] = {
            "what": name,
            "callers": callers,
            "texts_per_s": asked / took,
            "tokens_per_s": counted / took,
            "ratio": asked / took / default,
        }
        if backend is not None and work is not None:
            ceiling = torch_ceiling(where, DTYPES[dtype], min(seconds, 2.0))
            row |= {"ceiling_gops": ceiling, "of_ceiling": counted / took * work / 1e9 / ceiling}
        else:
            row |= {"ceiling_gops": "", "of_ceiling": ""}
        rows.append(row)
    return rows


async def _ask(
    guard: Guard, texts: Sequence[str], tokens: Sequence[int], seconds: float, callers: int
) -> tuple[int, int, float]:
    """Texts, tokens and seconds of so many callers."""
    order = itertools.cycle(range(len(texts)))
    done = counted = 0
    begun = time.perf_counter()
    end = begun + seconds

    async def caller() -> None:
        nonlocal done, counted
        while time.perf_counter() < end:
            place = next(order)
            await guard.check(texts[place])
            done += 1
            counted += tokens[place]

    await asyncio.gather(*(caller() for _ in range(callers)))
    return done, counted, time.perf_counter() - begun
