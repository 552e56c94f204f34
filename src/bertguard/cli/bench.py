"""`guard bench`: what the guard costs on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

_PARTS = (
    "size, start, memory, latency, profile, throughput, load, loop, growth, chat; all of these by "
    "default. With torch also runtimes, device and training."
)


def command(
    parts: Annotated[list[str] | None, typer.Argument(help=f"Some of: {_PARTS}")] = None,
    *,
    checkpoint: Annotated[
        str | None, typer.Option(help="A checkpoint directory, or bundled (the default).")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    rounds: Annotated[int, typer.Option(help="Repetitions; medians are shown.")] = 30,
    seconds: Annotated[float, typer.Option(help="Of each measurement that has a duration.")] = 10.0,
    longest: Annotated[int, typer.Option(help="Longest text of growth, in characters.")] = 100_000,
    requests: Annotated[int, typer.Option(help="Answered while memory is watched.")] = 3_000,
    steps: Annotated[int, typer.Option(help="Steps of training.")] = 8,
    peers: Annotated[
        bool, typer.Option("--peers", help="Latency beside other guards' architectures.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw the ratios: a .png, .svg or .pdf file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not tables.")] = False,
) -> None:
    """Measure size, start, latency, throughput and growth.

    Also memory, load, the event loop, a resent chat, and where the time goes. Each figure stands
    beside its yardstick from the same run; on a shared machine read the ratios.
    """
    import json

    from bertguard.bench.parts import DEFAULT, Options, measure

    options = Options(
        checkpoint=checkpoint,
        device=device,
        rounds=rounds,
        seconds=seconds,
        longest=longest,
        requests=requests,
        steps=steps,
        peers=peers,
    )
    results = measure(
        tuple(parts or DEFAULT),
        options,
        begins=lambda part: typer.echo(f"guard: measuring {part}", err=True),
        # As it comes: whoever stops half way keeps what was measured.
        found=lambda some: None if as_json else typer.echo(_tables(some)),
    )
    if plot is not None:
        from bertguard.bench.plot import plot as draw

        draw(results, plot)
    if as_json:
        typer.echo(json.dumps(results, indent=2))


def _tables(results: Mapping[str, str | dict[str, object] | list[dict[str, object]]]) -> str:
    lines: list[str] = []
    for name, result in results.items():
        if isinstance(result, str):
            lines.append(f"{name}: {result}")
            continue
        lines.append(name)
        if isinstance(result, dict):
            lines += [f"  {key:<24} {_number(value)}" for key, value in result.items()]
        elif result:
            lines += _table(result)
    return "\n".join(lines)


def _table(rows: list[dict[str, object]]) -> list[str]:
    """Words to the left, numbers to the right."""
    columns = list(rows[0])
    cells = [columns, *([_number(row.get(column, "")) for column in columns] for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    words = [isinstance(rows[0][column], str) and bool(rows[0][column]) for column in columns]
    return [
        "  "
        + "  ".join(
            f"{cell:<{width}}" if left else f"{cell:>{width}}"
            for cell, width, left in zip(line, widths, words, strict=True)
        ).rstrip()
        for line in cells
    ]


def _number(value: object) -> str:
    if not isinstance(value, int | float):
        return str(value)
    if value == int(value) or value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"
