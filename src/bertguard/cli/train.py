"""`guard train`: labelled files in, a checkpoint directory out."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from bertguard.cli.options import per_channel
from bertguard.cli.outcome import told
from bertguard.cli.progress import TrainingBar


def _defaults_of(context: typer.Context, recipe: str | None) -> str | None:
    """The recipe's options become the defaults of the others."""
    if recipe is not None:
        from bertguard.training.recipes import read_recipe

        context.default_map = read_recipe(recipe)
    return recipe


def _typed(context: typer.Context, option: str) -> bool:
    """Whether it stands on the command line itself, not in a recipe."""
    source = context.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def _chosen(context: typer.Context, *options: str) -> str | None:
    """The one of the options that says what to validate on; what was typed beats the recipe.

    Raises:
        typer.BadParameter: two were typed.
    """
    given = [name for name in options if context.params.get(name)]
    typed = [name for name in given if _typed(context, name)]
    if len(typed) > 1:
        both = " and ".join(f"--{name.replace('_', '-')}" for name in typed)
        raise typer.BadParameter(f"{both} each say what to validate on; give one of them")
    return next(iter(typed or given), None)


def _fold(written: str) -> tuple[int, int]:
    fold, _, folds = written.partition("/")
    if not (fold.isdecimal() and folds.isdecimal()):
        raise typer.BadParameter(f"{written!r}: expected K/N such as 2/5", param_hint="--fold")
    return int(fold), int(folds)


def command(
    context: typer.Context,
    data: Annotated[
        list[str] | None,
        typer.Argument(
            help="Labelled files (.jsonl, .csv, .parquet) or hf:<dataset>: text, label, and "
            "optional channel and source. None: the hand-written corpus of the package alone."
        ),
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="The checkpoint directory to write.")],
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Take the options from a recipe of the package, such as bundled; what is given "
            "beside it wins.",
            is_eager=True,
            callback=_defaults_of,
        ),
    ] = None,
    base: Annotated[
        str,
        typer.Option(
            help="bundled, a checkpoint directory, or an encoder: a directory or hub id such as "
            "google-bert/bert-base-uncased."
        ),
    ] = "bundled",
    name: Annotated[str, typer.Option(help="Name of the checkpoint.")] = "custom-guard",
    validation: Annotated[
        list[str] | None, typer.Option(help="Labelled files for validation; may be repeated.")
    ] = None,
    validation_source: Annotated[
        list[str] | None,
        typer.Option(
            help="A source of the data to leave out for validation; may be repeated. corpus: the "
            "texts that the package keeps for this."
        ),
    ] = None,
    validation_share: Annotated[
        float, typer.Option(help="Share of texts for validation where none is named.")
    ] = 0.1,
    fold: Annotated[
        str | None,
        typer.Option(
            help="K/N: leave out the sources of part K of N, such as 2/5; rotate K to compare "
            "settings."
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            help="Keep only rows with COLUMN=VALUE, e.g. ship=true; rows without it are kept."
        ),
    ] = None,
    most_per_source: Annotated[
        list[str] | None,
        typer.Option(help="At most this many benign rows per source: 300, or data=300."),
    ] = None,
    most_injections_per_source: Annotated[
        list[str] | None,
        typer.Option(help="At most this many injections per source: 300, or data=300."),
    ] = None,
    least_injections_per_source: Annotated[
        list[str] | None,
        typer.Option(
            help="Repeat the injections of smaller sources, four times at most, up to this many: "
            "400, or prompt=400."
        ),
    ] = None,
    most_injection_chars: Annotated[
        int | None,
        typer.Option(
            help="Leave out longer injections in channel data: nobody knows where in them "
            "the payload lies."
        ),
    ] = None,
    pooling: Annotated[str | None, typer.Option(help="cls, mean or max.")] = None,
    window: Annotated[int | None, typer.Option(help="Longest input in tokens.")] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the data.")] = 1,
    batch_tokens: Annotated[int, typer.Option(help="Padded tokens per step and process.")] = 4096,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate of AdamW.")] = 6e-5,
    warmup: Annotated[float, typer.Option(help="Share of the steps with a rising rate.")] = 0.1,
    weight_decay: Annotated[float, typer.Option(help="AdamW's weight decay.")] = 0.01,
    clip: Annotated[float, typer.Option(help="Largest norm of the gradient.")] = 1.0,
    dropout: Annotated[float, typer.Option(help="Dropout before the head.")] = 0.1,
    encoder_dropout: Annotated[
        float | None, typer.Option(help="Dropout inside the encoder, instead of its own.")
    ] = None,
    attention_dropout: Annotated[
        float | None,
        typer.Option(help="Dropout of attention alone; 0 saves most of what dropout costs."),
    ] = None,
    label_smoothing: Annotated[float, typer.Option(help="Smoothing of the targets.")] = 0.0,
    layer_decay: Annotated[
        float, typer.Option(help="Share of its rate that each layer passes on to the one below.")
    ] = 1.0,
    adversarial: Annotated[
        float,
        typer.Option(help="Learn each batch again under embeddings shifted by this (FGM)."),
    ] = 0.0,
    r_drop: Annotated[
        float,
        typer.Option(
            help="Weight of the agreement of two dropouts (R-Drop); needs --encoder-dropout."
        ),
    ] = 0.0,
    channel: Annotated[
        bool, typer.Option(help="Tell the encoder which channel a text is from.")
    ] = True,
    learn: Annotated[
        str,
        typer.Option(
            help="all, or new-words: only the words that guard extend added, from texts that hold "
            "some; what is written without them scores as before."
        ),
    ] = "all",
    composed: Annotated[
        int, typer.Option(help="Indirect injections and benign twins composed per epoch.")
    ] = 0,
    replay: Annotated[
        float,
        typer.Option(
            help="Share of texts from the hand-written corpus of the package, so that a guard "
            "retrained on one kind of traffic forgets nothing."
        ),
    ] = 0.3,
    obfuscated: Annotated[
        float, typer.Option(help="Share of texts, of both labels, that are written oddly.")
    ] = 0.0,
    max_windows: Annotated[int, typer.Option(help="Windows of one text per epoch.")] = 2,
    checks: Annotated[int, typer.Option(help="Validations per epoch.")] = 1,
    keep: Annotated[str, typer.Option(help="Weights to keep: best or last.")] = "best",
    dtype: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto or cpu.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 0,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget an interrupted run in --out.")
    ] = False,
) -> None:
    """Fine-tune an encoder on labelled files.

    Without files it learns from the corpus of the package alone. Run the same command again after
    an interruption and it goes on where it stood. Several processes: accelerate launch -m
    bertguard train …
    A finished checkpoint in --out is replaced.
    """
    from bertguard.errors import MissingExtraError

    try:
        from bertguard.model.checkpoint import MANIFEST
        from bertguard.training.augment import Augmentation
        from bertguard.training.copies import doubts
        from bertguard.training.examples import Where
        from bertguard.training.loop import train
        from bertguard.training.resume import begun
        from bertguard.training.selection import Selection
        from bertguard.training.settings import Settings
    except ImportError as error:
        raise MissingExtraError("guard train", "train") from error
    from transformers.utils import logging

    # A report on the pooler that we leave out by design would only worry the reader.
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # transformers has no types here
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]

    settings = Settings(
        name=name,
        base=base,
        pooling=pooling,
        window_tokens=window,
        epochs=epochs,
        batch_tokens=batch_tokens,
        learning_rate=learning_rate,
        warmup=warmup,
        weight_decay=weight_decay,
        clip=clip,
        dropout=dropout,
        encoder_dropout=encoder_dropout,
        attention_dropout=attention_dropout,
        label_smoothing=label_smoothing,
        layer_decay=layer_decay,
        adversarial=adversarial,
        r_drop=r_drop,
        channel=channel,
        learn=learn,
        max_windows=max_windows,
        augmentation=Augmentation(
            # The corpus is no replay where it is the data.
            composed=composed,
            obfuscated=obfuscated,
            replay=replay if data else 0.0,
        ),
        dtype=dtype,
        seed=seed,
        checks=checks,
        keep=keep,
    )
    limits = {
        (channel.value, label): most
        for label, options, option in (
            (0, most_per_source, "--most-per-source"),
            (1, most_injections_per_source, "--most-injections-per-source"),
        )
        for channel, most in per_channel(options or (), option, int).items()
    }
    least = per_channel(least_injections_per_source or (), "--least-injections-per-source", int)
    if (fewest := min((*limits.values(), *least.values()), default=0)) < 0:
        raise typer.BadParameter(
            "--most-per-source, --most-injections-per-source or --least-injections-per-source is "
            f"{fewest}: expected 0 or more"
        )
    condition = Where.parse(where, expected=_typed(context, "where")) if where else None
    held_out_by = _chosen(context, "validation", "fold", "validation_source")
    part = _fold(fold) if fold else None
    if fold and not data:
        raise typer.BadParameter("--fold parts the sources of DATA, and there is none; name files")
    if validation_source and not data and _typed(context, "validation_source"):
        raise typer.BadParameter(
            "--validation-source leaves out a source of DATA, and there is none; name files"
        )
    training, held_out = Selection(
        data=data or (),
        where=condition,
        validation=validation or () if held_out_by == "validation" else (),
        validation_sources=validation_source or () if held_out_by == "validation_source" else (),
        fold=part if held_out_by == "fold" else None,
        validation_share=validation_share,
        most=limits,
        least={(channel.value, 1): count for channel, count in least.items()},
        most_injection_chars=most_injection_chars,
        seed=seed,
    ).read()
    if os.environ.get("RANK", "0") == "0":
        for doubt in doubts(training, held_out):
            typer.echo(f"guard: {doubt}", err=True)
        if (out / MANIFEST).is_file() and not begun(out):
            typer.echo(
                f"guard: {out} holds a finished checkpoint; this run replaces it and its export",
                err=True,
            )
    with TrainingBar() as bar:
        manifest = train(
            training,
            held_out,
            settings=settings,
            out=out,
            command=shlex.join(["guard", *sys.argv[1:]]),
            device=device,
            fresh=fresh,
            report=bar.step,
        )
    if manifest is not None:
        for line in told(out, manifest, learnt=len(training), validated=len(held_out)):
            typer.echo(line)
