"""Progress of long work: a bar on a terminal, a line now and then where errors go to a file."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

import typer

if TYPE_CHECKING:
    from bertguard.training.loop import Step

# A log wants some ten lines of one piece of work, not one for each text.
_LINES = 10


class Work:
    """One piece of work of a known size, such as a file to score."""

    def __init__(self, bars: Bars, description: str, total: int) -> None:
        self._bars = bars
        self._task = bars.progress.add_task(description, total=total)
        self._description = description
        self._total = total
        self._done = 0

    def reach(self, done: int) -> None:
        """So much of it is done."""
        before, self._done = self._done, done
        self._bars.progress.update(self._task, completed=done)
        tenth = max(1, self._total // _LINES)
        if not self._bars.terminal and (done // tenth > before // tenth or done == self._total):
            typer.echo(f"{self._description} {done}/{self._total}", err=True)

    def advance(self, _: object = None) -> None:
        """One more of it is done."""
        self.reach(self._done + 1)


class Bars:
    """The bars of a command, on standard error."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        self.terminal = console.is_terminal
        self.progress = Progress(console=console, disable=not console.is_terminal)

    def work(self, description: str, total: int) -> Work:
        """Begin a piece of work."""
        return Work(self, description, total)

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.progress.stop()


class TrainingBar:
    """Updates of a training run, with the loss; in a log a line for every fifty."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        console = Console(stderr=True)
        self._terminal = console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("reading", total=None)
        self._loss: float | None = None
        self._tokens = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def step(self, step: Step) -> None:
        """Show one update."""
        self._tokens += step.tokens
        # A running mean: a single batch says little.
        self._loss = step.loss if self._loss is None else 0.98 * self._loss + 0.02 * step.loss
        line = f"epoch {step.epoch + 1} loss {self._loss:.3f}"
        if step.validation is not None:
            line += f" validation {step.validation:.3f}"
        self._progress.update(self._task, description=line, completed=step.done, total=step.total)
        if not self._terminal and (
            step.done % 50 == 0 or step.done == step.total or step.validation is not None
        ):
            typer.echo(f"{line} batch {step.done}/{step.total} tokens {self._tokens}", err=True)
