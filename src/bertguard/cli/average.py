"""`guard average`: one checkpoint from the mean of several runs' weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    checkpoints: Annotated[
        list[str],
        typer.Argument(help="Two checkpoint directories or more (bundled is one), of one encoder."),
    ],
    *,
    out: Annotated[Path, typer.Option(help="The new checkpoint directory.")],
) -> None:
    """Average the weights of several runs into one checkpoint.

    Each run counts alike. Fit the thresholds afterwards (guard calibrate), then guard export.
    """
    from bertguard.errors import MissingExtraError
    from bertguard.model.loading import find_checkpoint

    try:
        from bertguard.training.averaging import average
    except ImportError as error:
        raise MissingExtraError("guard average", "train") from error

    directories = [find_checkpoint(name) for name in checkpoints]
    average(directories, out)
    typer.echo(
        f"wrote {out}: the mean of {len(directories)} checkpoints, with the thresholds of the "
        f"first; next: guard calibrate {out} DATA, then guard export {out} DATA"
    )
