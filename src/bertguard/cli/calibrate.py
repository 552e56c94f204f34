"""`guard calibrate`: thresholds from a user's own benign traffic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# Below it scores that matter are all near 0, and thresholds of six digits too coarse.
_RAREST = 0.001


def command(
    checkpoint: Annotated[
        str, typer.Argument(help="The checkpoint directory, or bundled (then --out is needed).")
    ],
    data: Annotated[
        list[str], typer.Argument(help="Labelled files or hf:<dataset>; their benign rows count.")
    ],
    *,
    out: Annotated[
        Path | None, typer.Option(help="Write a copy of the checkpoint there, not in place.")
    ] = None,
    flag_rate: Annotated[
        float, typer.Option(help="Share of benign texts that may be flagged.")
    ] = 0.01,
    block_rate: Annotated[
        float, typer.Option(help="Share of benign texts that may be blocked.")
    ] = 0.001,
    prior: Annotated[
        float | None,
        typer.Option(
            help="Share of injections in the traffic that scores are probabilities for. Scores and "
            "thresholds move, no decision does. Default: as it is.",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
) -> None:
    """Fit a checkpoint's thresholds to your own benign traffic.

    Texts go through the serving guard. Temperature and weights stay as they are, and so do the
    thresholds of a channel with fewer than 100 benign texts. With fewer than 1 / rate of them
    (1,000 for 0.1%) a threshold may rise and does not fall.
    """
    import math
    import shutil
    from contextlib import nullcontext

    from bertguard.errors import ConfigurationError, MissingExtraError

    if prior is not None and not _RAREST <= prior <= 1 - _RAREST:
        raise ConfigurationError(
            f"--prior {prior:g} is no share to tell scores by; use {_RAREST:g} to {1 - _RAREST:g}"
        )
    try:
        from bertguard.model.writing import must_be_writable, whole, writing
        from bertguard.training.card import model_card
        from bertguard.training.examples import read_examples
        from bertguard.training.thresholds import fit_thresholds, with_prior, with_thresholds
    except ImportError as error:
        raise MissingExtraError("guard calibrate", "train") from error
    from bertguard.cli.options import patient_guard
    from bertguard.cli.progress import Bars
    from bertguard.model.checkpoint import CARD, read_manifest, write_manifest
    from bertguard.model.loading import find_checkpoint, own_checkpoint

    directory = own_checkpoint(checkpoint) if out is None else find_checkpoint(checkpoint)
    manifest = read_manifest(directory)
    if out is None:
        must_be_writable(directory, told=str(directory))
    place = out or directory
    with nullcontext(directory) if out is None else whole(out) as target:
        examples = read_examples(data)
        with (
            patient_guard(directory, device=device) as guard,
            Bars() as bars,
        ):
            benign = sum(row.label == 0 for row in examples)
            fitted = fit_thresholds(
                guard,
                examples,
                prior=manifest.prior,
                flag_rate=flag_rate,
                block_rate=block_rate,
                report=bars.work("scoring", benign).reach,
            )
        calibrated = with_thresholds(manifest, fitted)
        if prior is not None:
            calibrated = with_prior(calibrated, prior)
        with writing(place):
            if out is not None:
                shutil.copytree(directory, target, dirs_exist_ok=True)
            write_manifest(target, calibrated, written=())
            card = target / CARD
            if card.is_file() and card.read_text("utf-8") == model_card(manifest):
                # A card that somebody has written on is left as it is.
                card.write_text(model_card(calibrated), encoding="utf-8")
    for channel, one in fitted.items():
        flag_before, block_before = manifest.thresholds[channel]
        flag_at, block_at = calibrated.thresholds[channel]
        typer.echo(
            f"{channel}: flag at {flag_before:.4f} -> {flag_at:.4f} "
            f"(false alarms {_range(one.flag_interval)}), "
            f"block at {block_before:.4f} -> {block_at:.4f} ({_range(one.block_interval)}), "
            f"from {one.benign} benign texts"
        )
        if one.benign * block_rate < 1:
            typer.echo(
                f"{channel}: {one.benign} texts cannot show a rate of {block_rate:.6g}, so the "
                f"threshold for blocking was not lowered; {math.ceil(1 / block_rate):,} can"
            )
    for channel in sorted({"prompt", "data"} - fitted.keys()):
        typer.echo(f"{channel}: too few benign texts, thresholds kept")
    if calibrated.prior != manifest.prior:
        typer.echo(
            f"scores are for traffic with a share of {calibrated.prior:g} injections, not "
            f"{manifest.prior:g}: of the change in thresholds that part changes no decision"
        )
    typer.echo(f"wrote {place / 'guard.json'}")


def _range(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.2%} to {interval[1]:.2%}"
