"""`guard evaluate`: a checkpoint on labelled files, through the guard that would serve it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    data: Annotated[
        list[str], typer.Argument(help="Labelled files (.jsonl, .csv, .parquet) or hf:<dataset>.")
    ],
    *,
    checkpoint: Annotated[
        str | None, typer.Option(help="A checkpoint directory; the bundled one by default.")
    ] = None,
    flag_at: Annotated[
        float | None,
        typer.Option(help="Judge by this score in both channels, not by the checkpoint's own."),
    ] = None,
    where: Annotated[str | None, typer.Option(help="Keep only rows with COLUMN=VALUE.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="A directory for report.json and report.md.")
    ] = None,
    obfuscate: Annotated[
        bool,
        typer.Option("--obfuscate", help="Also write prompts oddly: are attacks still caught?"),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not Markdown.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    backend: Annotated[str | None, typer.Option(help="onnx or torch.")] = None,
) -> None:
    """Measure a checkpoint on labelled files.

    Prints accuracy per source, ROC-AUC, and recall at 1% and 0.1% false positives. Texts go
    through the serving guard, with all its windows and views.
    """
    from bertguard.errors import ConfigurationError, MissingExtraError

    try:
        from bertguard.training import report as reports
        from bertguard.training.dataset import Where, read_examples
        from bertguard.training.evaluation import evaluate
        from bertguard.training.robustness import WRITINGS, robustness
    except ImportError as error:
        raise MissingExtraError("guard evaluate", "train") from error
    if flag_at is not None and not 0 <= flag_at <= 1:
        raise ConfigurationError(f"--flag-at {flag_at} is no probability; use 0 to 1")
    from dataclasses import asdict, replace

    from rich.console import Console
    from rich.progress import Progress

    from bertguard.guard import Guard

    examples = read_examples(data, where=Where.parse(where) if where else None)
    console = Console(stderr=True)
    guard = Guard.load(
        checkpoint,
        device=device,
        backend=backend,
        # Nobody waits for a single verdict here: no text may time out or be cut.
        timeout_seconds=24 * 3600.0,
        max_windows=1_000_000,
    )
    with (
        guard,
        Progress(console=console, disable=not console.is_terminal) as bar,
    ):
        task = bar.add_task("scoring", total=len(examples))
        found = evaluate(
            guard,
            examples,
            flag_at=flag_at,
            data=[Path(place).name for place in data],
            report=lambda done: bar.update(task, completed=done),
        )
        if obfuscate:
            task = bar.add_task("writing oddly", total=len(WRITINGS))
            disguises = robustness(guard, examples, report=lambda _: bar.advance(task))
            found = replace(found, disguises=[asdict(disguise) for disguise in disguises])
    typer.echo(reports.to_json(found) if as_json else reports.to_markdown(found), nl=False)
    if report is not None:
        for file in reports.write(found, report):
            typer.echo(f"wrote {file}", err=True)
