"""The parts of `guard bench` by name, and what they are told."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bertguard.errors import ConfigurationError

if TYPE_CHECKING:
    from bertguard.guard import Guard

Result = str | dict[str, object] | list[dict[str, object]]

# Of the parts that need torch and its kin, none runs unless it is named.
DEFAULT = (
    "size", "start", "memory", "latency", "profile", "throughput", "load", "loop", "growth", "chat",
)  # fmt: skip
NAMED = ("runtimes", "device", "training")
PARTS = (*DEFAULT, *NAMED)


@dataclass(frozen=True, slots=True)
class Options:
    """What all parts are told.

    Args:
        checkpoint: a directory or hub id; None is the bundled one.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        rounds: repetitions where medians are shown.
        seconds: of each measurement that has a duration.
        longest: text of growth, in characters.
        requests: that the server of memory answers.
        steps: of training.
        peers: whether other architectures stand beside the latency.
    """

    checkpoint: str | None = None
    device: str = "auto"
    rounds: int = 30
    seconds: float = 10.0
    longest: int = 100_000
    requests: int = 3_000
    steps: int = 8
    peers: bool = False

    def __post_init__(self) -> None:
        # A shorter text is no document: growth begins at 1,000 characters.
        least = {"rounds": 1, "longest": 1_000, "requests": 1, "steps": 1}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise ConfigurationError(
                    f"{name}={getattr(self, name)} is too few; use {lowest} or more"
                )
        if not 0 < self.seconds < math.inf:
            raise ConfigurationError(
                f"seconds={self.seconds} measures nothing; use a number above 0"
            )


def measure(
    parts: Sequence[str],
    options: Options,
    *,
    begins: Callable[[str], None],
    found: Callable[[dict[str, Result]], None],
) -> dict[str, Result]:
    """The results of these parts by name, in the order of `PARTS`, after what they ran on.

    Args:
        parts: names of `PARTS`.
        options: see the class.
        begins: told the name of a part before it is measured.
        found: given the results of each part as soon as they are there.

    Raises:
        ConfigurationError: a name that is no part.
    """
    if unknown := [part for part in parts if part not in PARTS]:
        raise ConfigurationError(f"{unknown[0]!r} is none of {', '.join(PARTS)}")
    results: dict[str, Result] = {"machine": _machine()}
    found(results)
    for part in (part for part in PARTS if part in parts):
        begins(part)
        new = _PARTS[part](options)
        found(new)
        results |= new
    return results


def _machine() -> Result:
    import os
    import platform

    from bertguard.model.onnx_scorer import usable_cores

    name = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = names[0].partition(":")[2].strip() if names else ""
    return {
        "processor": name or platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 1,
        "usable_cores": usable_cores(),
        "python": platform.python_version(),
    }


def _load(options: Options) -> tuple[Guard, Path | None]:
    """A guard that remembers nothing, and the ONNX file that its scorer has open, if it has."""
    from bertguard.guard import Guard
    from bertguard.model.checkpoint import ONNX_INT8
    from bertguard.model.loading import find_checkpoint

    # The same texts are asked again and again.
    guard = Guard.load(
        options.checkpoint,
        device=options.device,
        remembered_texts=0,
        timeout_seconds=3600.0,
        max_windows=1_000_000,
    )
    file = find_checkpoint(options.checkpoint) / ONNX_INT8
    return guard, file if guard.model_id.endswith("/onnx-int8") else None


def _size(options: Options) -> dict[str, Result]:
    from bertguard.bench.size import measure_size

    sizes = measure_size()
    return {"size": {**sizes, "together (MB)": sum(sizes.values())}}


def _start(options: Options) -> dict[str, Result]:
    from bertguard.bench.start import measure_start

    return {"start": {**measure_start(min(options.rounds, 5))}}


def _memory(options: Options) -> dict[str, Result]:
    from bertguard.bench.memory import measure_memory

    return {"memory": measure_memory(options.requests, options.checkpoint, options.device)}


def _latency(options: Options) -> dict[str, Result]:
    from bertguard.bench.latency import measure_latency
    from bertguard.bench.peers import measure_peers

    guard, file = _load(options)
    with guard:
        results: dict[str, Result] = {
            "model": guard.model_id,
            "latency": [{**row} for row in measure_latency(guard, file, options.rounds)],
        }
        if options.peers:
            results["peers"] = measure_peers(guard, max(3, options.rounds // 3))
    return results


def _profile(options: Options) -> dict[str, Result]:
    from bertguard.bench.profile import measure_profile

    guard, _ = _load(options)
    with guard:
        return {"profile": measure_profile(guard.scorer, options.rounds)}


def _throughput(options: Options) -> dict[str, Result]:
    from bertguard.bench.throughput import measure_throughput

    guard, file = _load(options)
    with guard:
        rows = measure_throughput(
            guard, file, options.seconds, checkpoint=options.checkpoint, device=options.device
        )
    return {"throughput": rows}


def _load_part(options: Options) -> dict[str, Result]:
    from bertguard.bench.load import measure_load

    guard, _ = _load(options)
    with guard:
        return {"load": measure_load(guard, options.seconds)}


def _loop(options: Options) -> dict[str, Result]:
    from bertguard.bench.loop import measure_loop

    guard, _ = _load(options)
    with guard:
        return {"loop": measure_loop(guard, options.seconds)}


def _growth(options: Options) -> dict[str, Result]:
    from bertguard.bench.growth import measure_growth

    guard, _ = _load(options)
    with guard:
        return {"growth": [{**row} for row in measure_growth(guard, options.longest)]}


def _chat(options: Options) -> dict[str, Result]:
    from bertguard.bench.growth import measure_chat

    guard, _ = _load(options)
    with guard:
        return {"chat": measure_chat(guard.scorer, max(1, min(options.rounds // 6, 5)))}


def _runtimes(options: Options) -> dict[str, Result]:
    from bertguard.bench.runtimes import measure_runtimes
    from bertguard.model.loading import find_checkpoint
    from bertguard.model.onnx_scorer import usable_cores

    directory = find_checkpoint(options.checkpoint)
    rows = measure_runtimes(directory, options.rounds, options.seconds / 4, cores=usable_cores())
    return {"runtimes": rows}


def _device(options: Options) -> dict[str, Result]:
    from bertguard.bench.device import measure_device
    from bertguard.model.loading import find_checkpoint

    directory = find_checkpoint(options.checkpoint)
    rows = measure_device(options.checkpoint, options.device, options.seconds, directory=directory)
    return {"device": rows}


def _training(options: Options) -> dict[str, Result]:
    from bertguard.bench.training import measure_training

    base = options.checkpoint or "bundled"
    return {"training": measure_training(base, options.device, options.steps)}


_PARTS: dict[str, Callable[[Options], dict[str, Result]]] = {
    "size": _size,
    "start": _start,
    "memory": _memory,
    "latency": _latency,
    "profile": _profile,
    "throughput": _throughput,
    "load": _load_part,
    "loop": _loop,
    "growth": _growth,
    "chat": _chat,
    "runtimes": _runtimes,
    "device": _device,
    "training": _training,
}
