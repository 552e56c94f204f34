"""`guard bench`: what the guard costs on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

PARTS = ("size", "start", "latency", "throughput", "growth")


def command(
    parts: Annotated[
        list[str] | None, typer.Argument(help="Some of: " + ", ".join(PARTS) + "; all by default.")
    ] = None,
    *,
    checkpoint: Annotated[
        str | None, typer.Option(help="A checkpoint directory; the bundled one by default.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    rounds: Annotated[int, typer.Option(help="Repetitions; medians are shown.")] = 30,
    seconds: Annotated[float, typer.Option(help="Of each measurement of throughput.")] = 10.0,
    longest: Annotated[int, typer.Option(help="Longest text of growth, in characters.")] = 100_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not tables.")] = False,
) -> None:
    """Measure size, start, latency, throughput and growth.

    Each figure stands beside its yardstick from the same run; on a shared machine read the
    ratios.
    """
    import json

    from bertguard.bench import speed, start
    from bertguard.guard import Guard

    wanted = tuple(parts or PARTS)
    if unknown := [part for part in wanted if part not in PARTS]:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(PARTS)}")
    results: dict[str, object] = {}
    if "size" in wanted:
        results["size"] = start.measure_size()
    if "start" in wanted:
        results["start"] = start.measure_start(min(rounds, 5))
    if {"latency", "throughput", "growth"} & set(wanted):
        # Nothing may be remembered: the same texts are asked again and again.
        with Guard.load(
            checkpoint,
            device=device,
            remembered_texts=0,
            timeout_seconds=3600.0,
            max_windows=1_000_000,
        ) as guard:
            results["model"] = guard.model_id
            if "latency" in wanted:
                results["latency"] = speed.measure_latency(guard, rounds)
            if "throughput" in wanted:
                results["throughput"] = speed.measure_throughput(guard, seconds)
            if "growth" in wanted:
                results["growth"] = speed.measure_growth(guard, longest)
    typer.echo(json.dumps(results, indent=2) if as_json else _tables(results))


def _tables(results: dict[str, object]) -> str:
    lines: list[str] = []
    for name, result in results.items():
        lines.append(f"{name}: {result}" if isinstance(result, str) else f"{name}")
        if isinstance(result, dict):
            lines += [f"  {key:<24} {_number(value)}" for key, value in result.items()]
            if name == "size":
                lines.append(f"  {'together (MB)':<24} {_number(sum(result.values()))}")
        elif isinstance(result, list):
            lines.append("  " + "".join(f"{column:>14}" for column in result[0]))
            lines += ["  " + "".join(f"{_number(v):>14}" for v in row.values()) for row in result]
    return "\n".join(lines)


def _number(value: object) -> str:
    if not isinstance(value, int | float):
        return str(value)
    if value == int(value) or value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"
