"""`guard extend`: words of other languages for an encoder that reads them letter by letter."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from random import Random
from typing import Annotated

import typer

from bertguard.cli.progress import Bars


def command(
    data: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files whose texts hold the words (.jsonl, .csv, .parquet, as guard train takes "
            "them) or hf:<dataset>. None: the hand-written corpus of the package alone."
        ),
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="The new checkpoint directory, to be trained next.")],
    base: Annotated[
        str,
        typer.Option(help="bundled, a checkpoint directory, or an encoder: a directory or hub id."),
    ] = "bundled",
    name: Annotated[str, typer.Option(help="Name of the checkpoint.")] = "custom-guard",
    where: Annotated[
        str | None, typer.Option(help="Keep only rows with COLUMN=VALUE, e.g. ship=true.")
    ] = None,
    corpus: Annotated[
        bool, typer.Option("--corpus", help="Read the corpus of the package beside DATA.")
    ] = False,
    words: Annotated[
        int, typer.Option(min=0, help="Words and pieces to add at most beside a glossary.")
    ] = 12000,
    glossary: Annotated[
        list[str] | None,
        typer.Option(
            help="bundled, or a file of lines WORD<tab>MEANING: words to add, each of which starts "
            "as what it means in words of the base. Repeatable."
        ),
    ] = None,
    window: Annotated[int | None, typer.Option(help="Longest input in tokens.")] = None,
    epochs: Annotated[
        int,
        typer.Option(min=0, help="Passes over the texts; 0: the new words stay as they start."),
    ] = 8,
    batch_tokens: Annotated[int, typer.Option(help="Padded tokens per step.")] = 4096,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate of AdamW.")] = 1e-3,
    dtype: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 0,
) -> None:
    """Add words of other languages to an encoder's vocabulary.

    Takes the words of a glossary, and the most frequent words of the texts that the encoder cuts to
    pieces or does not know, and learns their meaning by guessing hidden words, everything else of
    the encoder standing still. Go on with guard train --base OUT.
    """
    from bertguard.errors import MissingExtraError

    try:
        from bertguard.training.corpus import read_corpus
        from bertguard.training.examples import Where, read_examples
        from bertguard.training.extension import extend
        from bertguard.training.glossary import read_glossaries
        from bertguard.training.settings import Settings
    except ImportError as error:
        raise MissingExtraError("guard extend", "train") from error
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # transformers has no types here
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]

    settings = Settings(
        name=name,
        base=base,
        window_tokens=window,
        epochs=epochs or 1,
        batch_tokens=batch_tokens,
        learning_rate=learning_rate,
        dtype=dtype,
        seed=seed,
    )
    glosses = read_glossaries(glossary or [])
    condition = Where.parse(where) if where else None
    rng = Random(seed)  # noqa: S311  # wordings, not secrets
    texts = [row.text for row in read_examples(data, where=condition)] if data else []
    if corpus or not data:
        texts += [seed.spoken(rng) for seed in read_corpus() if not seed.held_out]
    with Bars() as bars:
        work = None

        def report(done: int, total: int, _: float) -> None:
            nonlocal work
            work = work or bars.work("words", total)
            work.reach(done)

        found = extend(
            texts,
            settings=settings,
            words=words,
            out=out,
            glossary=glosses,
            guess=epochs > 0,
            command=shlex.join(["guard", *sys.argv[1:]]),
            device=device,
            report=report,
        )
    before, after = found.before, found.after
    loss = "" if found.loss is None else f"; loss {found.loss:.2f}"
    typer.echo(
        f"wrote {out}: {found.words:,} words more, from {found.texts:,} texts; of their "
        f"{before.words:,} words {before.unknown:,} were unknown and {after.unknown:,} are, tokens "
        f"{before.tokens:,} -> {after.tokens:,}{loss}; next: guard train --base "
        f"{out} --out DIR DATA"
    )
