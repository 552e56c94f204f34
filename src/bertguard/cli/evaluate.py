"""`guard evaluate`: checkpoints on labelled files, through the guard that would serve them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="[CHECKPOINT]... DATA...",
            help="Checkpoint directories or bundled (the default), then labelled files (.jsonl, "
            ".csv, .parquet) or hf:<dataset>.",
        ),
    ],
    *,
    checkpoint: Annotated[
        list[str] | None, typer.Option(help="A checkpoint directory; may be repeated.")
    ] = None,
    flag_at: Annotated[
        float | None,
        typer.Option(help="Judge by this score in both channels, not by the checkpoint's own."),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(help="Keep only rows with COLUMN=VALUE; rows without it are kept."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="A directory for report.json, report.md and report.html (with curves)."),
    ] = None,
    obfuscate: Annotated[
        bool,
        typer.Option("--obfuscate", help="Also write prompts oddly: are attacks still caught?"),
    ] = False,
    writing: Annotated[
        list[str] | None,
        typer.Option(help="Only this odd writing (spaced, base64, …); may be repeated."),
    ] = None,
    odd_texts: Annotated[
        int,
        typer.Option(min=1, help="Attacks, and as many benign texts, to write oddly in each way."),
    ] = 500,
    errors: Annotated[
        int,
        typer.Option(
            min=0,
            help="Also write the worst so many false alarms and misses of each channel to "
            "errors.jsonl in the report's directory. It holds their texts.",
        ),
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not Markdown.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    backend: Annotated[str | None, typer.Option(help="onnx or torch.")] = None,
) -> None:
    """Measure checkpoints on labelled files, side by side.

    Prints ROC-AUC, recall at 1% and 0.1% false positives, and accuracy by source, category,
    language and length. Texts go through the serving guard, with all its windows and views.
    """
    from bertguard.errors import ConfigurationError, MissingExtraError

    try:
        from bertguard.model.writing import must_be_writable
        from bertguard.training.evaluation import evaluate, worst_errors
        from bertguard.training.evaluation import report as reports
        from bertguard.training.evaluation.page import to_page
        from bertguard.training.evaluation.robustness import WRITINGS, robustness
        from bertguard.training.examples import Where, read_examples
    except ImportError as error:
        raise MissingExtraError("guard evaluate", "train") from error
    if flag_at is not None and not 0 <= flag_at <= 1:
        raise ConfigurationError(f"--flag-at {flag_at} is no probability; use 0 to 1")
    if errors and report is None:
        raise ConfigurationError("--errors writes into the directory of --report; name one")
    writings = writing or (list(WRITINGS) if obfuscate else [])
    if unknown := set(writings) - WRITINGS.keys():
        raise ConfigurationError(
            f"--writing {', '.join(sorted(unknown))}: expected one of {', '.join(WRITINGS)}"
        )
    if report is not None:
        must_be_writable(report, told=f"--report {report}")
    from collections import Counter
    from dataclasses import asdict, replace

    from bertguard.cli.options import patient_guard
    from bertguard.cli.progress import Bars
    from bertguard.model.checkpoint import read_manifest
    from bertguard.model.loading import BUNDLED_NAME, find_checkpoint

    named = [place for place in places if place == BUNDLED_NAME or Path(place).is_dir()]
    data = [place for place in places if place not in named]
    if not data:
        raise ConfigurationError(f"only checkpoints ({', '.join(named)}) and no data to judge by")
    examples = read_examples(data, where=Where.parse(where) if where else None)
    found = []
    checkpoints = [*named, *(checkpoint or ())] or [BUNDLED_NAME]
    with Bars() as bars:
        for place in checkpoints:
            with patient_guard(place, device=device, backend=backend) as guard:
                one = evaluate(
                    guard,
                    examples,
                    prior=read_manifest(find_checkpoint(place)).prior,
                    flag_at=flag_at,
                    data=[Path(file).name for file in data],
                    report=bars.work(f"scoring {Path(place).name}", len(examples)).reach,
                )
                if writings:
                    odd = bars.work("writing oddly", len(writings))
                    disguises = robustness(
                        guard, examples, texts=odd_texts, writings=writings, report=odd.advance
                    )
                    one = replace(one, disguises=[asdict(disguise) for disguise in disguises])
            found.append(one)
    known = Counter(one.model_id for one in found)
    found = [
        # Two trainings of one name: where they lie tells them apart.
        replace(one, model_id=f"{place}: {one.model_id}") if known[one.model_id] > 1 else one
        for place, one in zip(checkpoints, found, strict=True)
    ]
    # Before anything is printed: whoever reads that may have gone.
    if report is not None:
        written = [str(file) for file in reports.write(found, report, to_page(found, examples))]
        if errors:
            file = reports.write_errors(
                report / "errors.jsonl",
                (
                    {"model": one.model_id, **error}
                    for one in found
                    for error in worst_errors(examples, one, most=errors)
                ),
            )
            written.append(f"{file}, which holds texts")
        for told in written:
            typer.echo(f"wrote {told}", err=True)
    typer.echo(reports.to_json(found) if as_json else reports.to_markdown(found), nl=False)
