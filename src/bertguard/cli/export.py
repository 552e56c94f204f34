"""`guard export`: the ONNX model of a checkpoint, and the proof that it says the same."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    checkpoint: Annotated[str, typer.Argument(help="The checkpoint directory.")],
    data: Annotated[
        list[str], typer.Argument(help="Labelled files or hf:<dataset> with real texts.")
    ],
    *,
    texts: Annotated[int, typer.Option(min=1, help="How many texts to measure on.")] = 500,
    keep_fp32: Annotated[
        bool, typer.Option("--keep-fp32", help="Also leave model.fp32.onnx there.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the choice of texts.")] = 0,
) -> None:
    """Write a checkpoint's ONNX model and prove parity.

    Writes model.int8.onnx, prints how far it is from torch on real texts, and fails (exit code 2,
    no file written) if fp32 differs by more than 1e-4, int8 by more than 0.01 on average, or more
    than 0.5% of the decisions are others.
    """
    import random

    from bertguard.errors import MissingExtraError

    try:
        from bertguard.model.export import export
        from bertguard.training.examples import read_examples
    except ImportError as error:
        raise MissingExtraError("guard export", "train") from error
    from bertguard.model.loading import own_checkpoint

    directory = own_checkpoint(checkpoint)
    examples = read_examples(data)
    # What the smoothing is fitted to is not what it is measured on, where there is enough.
    drawn = random.Random(seed).sample(examples, min(texts + 128, len(examples)))  # noqa: S311  # a sample
    pairs = [(row.text, row.channel) for row in drawn]
    parity = export(
        directory,
        pairs[:texts],
        calibration=pairs[texts:],
        keep_fp32=keep_fp32,
        report=lambda stage: typer.echo(stage, err=True),
    )
    for line in parity.lines():
        typer.echo(line)
    typer.echo(f"wrote {directory / 'model.int8.onnx'}")
