"""The command line: one file per sub-command, each loaded when it is called for.

`cli/<name>.py` holds one typer-annotated function named `command`; its docstring is its help, and
the docstring's first line stands in the table below, so that `guard --help` imports none of them.
A `GuardError` anywhere in a command is one line on standard error and exit code 2.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

__all__ = ["COMMANDS", "app", "main"]

# Short enough to stand whole in the help of an 80 column terminal.
COMMANDS = {
    "scan": "Score texts, files or standard input for injections.",
    "serve": "Stand guard in front of an LLM, over HTTP.",
    "train": "Fine-tune an encoder on labelled files.",
    "evaluate": "Measure checkpoints on labelled files, side by side.",
    "export": "Write a checkpoint's ONNX model and prove parity.",
    "extend": "Add words of other languages to an encoder's vocabulary.",
    "average": "Average the weights of several runs into one checkpoint.",
    "calibrate": "Fit a checkpoint's thresholds to your own benign traffic.",
    "bench": "Measure size, start, latency, throughput and growth.",
    "info": "Describe a checkpoint and this machine's backends.",
}


class _Commands(TyperGroup):
    """The sub-commands as a table of names and first lines."""

    def __init__(self, *args: Any, **options: Any) -> None:  # typer's own signature, passed through
        super().__init__(*args, **options)
        for name, summary in COMMANDS.items():
            self.add_command(_Deferred(name=name, help=summary, callback=None))

    def invoke(self, ctx: Any) -> object:  # a Context of click, or of the click inside typer
        from bertguard.errors import GuardError

        try:
            return super().invoke(ctx)
        except GuardError as error:
            message = " ".join(str(error).split())
            typer.echo(f"guard: error: {message or type(error).__name__}", err=True)
            raise typer.Exit(2) from None
        except BrokenPipeError:
            raise  # whoever read the output has gone: typer ends without a word
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            typer.echo(f"guard: error: {place}{error.strerror or type(error).__name__}", err=True)
            raise typer.Exit(2) from None


class _Deferred(TyperCommand):
    """A sub-command that imports its module when it is asked to read its arguments."""

    def make_context(
        self, info_name: str | None, args: list[str], *more: Any, **options: Any
    ) -> Any:
        module = import_module(f"bertguard.cli.{self.name}")
        # No rich boxes: help and errors are plain lines, and 0.1 s sooner.
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(self.name)(module.command)
        return typer.main.get_command(single).make_context(info_name, args, *more, **options)


app = typer.Typer(
    name="guard",
    cls=_Commands,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    # A traceback with local variables would print prompts.
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from bertguard import __version__

        typer.echo(f"bertguard {__version__}")
        raise typer.Exit


@app.callback()
def _guard(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Keeps prompt injections away from LLMs."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `guard` with the process's arguments, or the given ones; always ends in SystemExit."""
    app(args=list(sys.argv[1:] if arguments is None else arguments), prog_name="guard")
