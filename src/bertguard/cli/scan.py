"""`guard scan`: texts in, verdicts out."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bertguard.guard import Guard
    from bertguard.segments import Channel
    from bertguard.verdict import Finding, Verdict

# Texts that are in memory and being scored at the same time.
_MAX_TEXTS_AT_ONCE = 64
_MAX_CHARS_AT_ONCE = 1_000_000
# Longer texts take seconds: whoever waits at a terminal is told so.
_LONG_CHARS = 100_000
_LONGEST_NAME = 1000


def command(
    text: Annotated[
        str | None, typer.Argument(help='The text to score; "-" is standard input.')
    ] = None,
    *,
    file: Annotated[
        list[Path] | None,
        typer.Option(
            "--file", "-f", help='A UTF-8 text file; may be repeated; "-" is standard input.'
        ),
    ] = None,
    channel: Annotated[
        str,
        typer.Option(help="prompt: said to an LLM; data: a document or tool result it reads."),
    ] = "prompt",
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per input instead of a table.")
    ] = False,
    checkpoint: Annotated[
        str | None, typer.Option(help="A checkpoint directory, or bundled (the default).")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
) -> None:
    """Score texts, files or standard input for injections.

    Without TEXT and --file, standard input is read. No text is repeated in the output, only
    where something was found.

    Exit code: 0 nothing found; 1 an injection in at least one input (flag or block); 2 an error:
    an input could not be read, or not be scored whole.
    """
    import asyncio

    from bertguard.cli.options import patient_guard
    from bertguard.segments import Channel

    if channel not in tuple(Channel):
        raise typer.BadParameter('use "prompt" or "data"', param_hint="--channel")
    inputs = _inputs(text, file or [])
    with patient_guard(checkpoint, device=device) as guard:
        results: list[_Result] = []
        for group in _groups(inputs):
            with _waiting(group):
                found = asyncio.run(_score(guard, group, Channel(channel)))
            for result in found:
                if result.error:
                    typer.echo(f"guard: error: {result.source}: {result.error}", err=True)
                if as_json:
                    typer.echo(json.dumps(result.to_dict()))
            results += found
        if not as_json:
            _print_table(results, guard.model_id)
    raise typer.Exit(max((result.exit_code for result in results), default=0))


@dataclass(frozen=True, slots=True)
class _Input:
    """A text and where it came from, or why it could not be read."""

    source: str
    text: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class _Result:
    """What is reported about one input; it holds no text."""

    source: str
    error: str = ""
    verdict: Verdict | None = None
    where: str = ""

    @property
    def exit_code(self) -> int:
        """2 for an error, 1 for an injection, else 0; a finding outweighs what was not scored."""
        if self.verdict is None:
            return 2
        if self.verdict.findings:
            return 1
        return 2 if self.verdict.unscanned else 0

    def to_dict(self) -> dict[str, object]:
        if self.verdict is None:
            return {"source": self.source, "error": self.error}
        return {"source": self.source, **self.verdict.to_dict()}


def _inputs(text: str | None, files: list[Path]) -> Iterator[_Input]:
    """Every input in the order given, read when its turn comes."""
    if text is not None and text != "-":
        if _names_a_file(text):
            typer.echo(
                "guard: a file has this name, and the name itself is what is scored; to scan the "
                "file, use --file",
                err=True,
            )
        yield _decoded("argument", text.encode("utf-8", "surrogateescape"))
    if text == "-" or (text is None and not files):
        yield _standard_input()
    for path in files:
        if str(path) == "-":
            yield _standard_input()
            continue
        try:
            data = path.read_bytes()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            yield _Input(str(path), error=f"cannot be read ({reason}); check path and permissions")
        else:
            yield _decoded(str(path), data)


def _names_a_file(text: str) -> bool:
    try:
        return len(text) < _LONGEST_NAME and Path(text).is_file()
    except (OSError, ValueError):
        return False


def _standard_input() -> _Input:
    if sys.stdin.isatty():
        typer.echo("guard: reading standard input, end it with Ctrl-D", err=True)
    return _decoded("stdin", sys.stdin.buffer.read())


def _decoded(source: str, data: bytes) -> _Input:
    try:
        return _Input(source, data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return _Input(
            source, error=f"is not UTF-8 text (byte {error.start}); convert it to UTF-8 first"
        )


def _groups(inputs: Iterator[_Input]) -> Iterator[list[_Input]]:
    """Inputs that are scored together: few enough to be held in memory."""
    group: list[_Input] = []
    chars = 0
    for item in inputs:
        group.append(item)
        chars += len(item.text)
        if len(group) == _MAX_TEXTS_AT_ONCE or chars >= _MAX_CHARS_AT_ONCE:
            yield group
            group, chars = [], 0
    if group:
        yield group


def _waiting(group: list[_Input]) -> AbstractContextManager[object]:
    """On a terminal, a sign of life while long texts are scored."""
    chars = sum(len(item.text) for item in group)
    if chars < _LONG_CHARS or not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status(f"scoring {chars:,} characters")


async def _score(guard: Guard, group: list[_Input], channel: Channel) -> list[_Result]:
    import asyncio

    return list(await asyncio.gather(*(_score_one(guard, item, channel) for item in group)))


async def _score_one(guard: Guard, item: _Input, channel: Channel) -> _Result:
    if item.error:
        return _Result(item.source, error=item.error)
    verdict = await guard.check(item.text, channel)
    error = ""
    if verdict.unscanned:
        error = f"was not scored whole ({', '.join(verdict.unscanned)})"
    return _Result(item.source, error, verdict, _where(verdict.findings, item.text))


def _where(findings: tuple[Finding, ...], text: str) -> str:
    """The worst place in words: `lines 3 to 5 (characters 120 to 180 of the text)`."""
    if not findings:
        return ""
    worst = findings[0]
    first = text.count("\n", 0, worst.start) + 1
    last = first + text.count("\n", worst.start, max(worst.start, worst.end - 1))
    where = f"line {first}" if first == last else f"lines {first} to {last}"
    where += f" (characters {worst.start} to {worst.end} of the text)"
    if worst.view != "as_written":
        where += f", read as {worst.view}"
    if len(findings) > 1:
        where += f" (and {len(findings) - 1} more)"
    return where


def _print_table(results: list[_Result], model_id: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    styles = {"allow": "green", "flag": "yellow", "block": "bold red"}
    table = Table(caption=f"model {model_id}", caption_justify="left")
    table.add_column("source", overflow="fold")
    table.add_column("action")
    table.add_column("score", justify="right")
    table.add_column("threshold", justify="right")
    table.add_column("where", overflow="fold")
    for result in results:
        verdict = result.verdict
        if verdict is None:
            table.add_row(Text(result.source), Text("error", "bold red"), "", "", result.error)
            continue
        action = verdict.action.value
        # Text and not str: a file may be called "[red]".
        table.add_row(
            Text(result.source),
            Text(action, styles[action]),
            f"{verdict.score:.4f}",
            f"{verdict.threshold:.4f}",
            Text(result.where or result.error),
        )
    Console().print(table)
