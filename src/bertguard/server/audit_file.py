"""The file of `guard serve --audit-log`: written by a thread, and no disk stops the server.

What goes wrong with the file is said at once and then once a minute, with the number of verdicts
that are missing from it; what they were is not repeated.
"""

from __future__ import annotations

import logging
import os
import stat
import time
from contextlib import suppress
from io import TextIOWrapper
from logging.handlers import QueueHandler, QueueListener, WatchedFileHandler
from pathlib import Path
from queue import Full, Queue
from typing import TYPE_CHECKING

from bertguard.errors import ConfigurationError
from bertguard.server.telemetry import AuditLog

if TYPE_CHECKING:
    from bertguard.guard import Guard

__all__ = ["AuditFile", "Lines", "Writer", "write_audit_log"]

_logger = logging.getLogger("bertguard")

# Lines of some hundred bytes: a few MB where the disk hangs.
_MAX_WAITING = 10_000
_SAY_EVERY_SECONDS = 60.0


def write_audit_log(guard: Guard, path: Path) -> Writer:
    """Verdicts of a guard into a file, from here on.

    Raises:
        ConfigurationError: the file cannot be opened.
    """
    try:
        file = AuditFile(path)
    except OSError as error:
        raise ConfigurationError(
            f"--audit-log {path}: {error.strerror or error}; use a file that can be written"
        ) from error
    lines: Queue[logging.LogRecord | None] = Queue(_MAX_WAITING)
    logger = logging.getLogger("bertguard.audit.file")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers = [Lines(lines)]
    AuditLog(guard, logger)
    writer = Writer(lines, file)
    writer.start()
    return writer


class _Missing:
    """Counts the verdicts that are missing from the file, and says so, but not each time."""

    def __init__(self) -> None:
        self._unsaid = 0
        self._why = ""
        self._say_at = 0.0

    def one_more(self, why: str) -> None:
        self._unsaid += 1
        self._why = why
        now = time.monotonic()
        if now >= self._say_at:
            self._say_at = now + _SAY_EVERY_SECONDS
            self.say()

    def say(self) -> None:
        """Say what has not been said yet."""
        if self._unsaid:
            _logger.error("verdicts missing from the audit log: %d (%s)", self._unsaid, self._why)
            self._unsaid = 0


class AuditFile(WatchedFileHandler):
    """The file; opened again where a log rotation has moved it away, or where writing has failed.

    An error ends neither the thread that writes nor the file's life: the next line tries again.
    A new file is its owner's alone.
    """

    def __init__(self, path: Path) -> None:
        self._missing = _Missing()
        super().__init__(path, encoding="utf-8")

    def _open(self) -> TextIOWrapper:
        file = open(  # noqa: SIM115 - closed by the handler
            self.baseFilename,
            "a",
            encoding=self.encoding,
            opener=lambda name, flags: os.open(name, flags, 0o600),
        )
        if _ends_within_a_line(file, self.baseFilename):
            file.write(self.terminator)
        return file

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, or count it as missing."""
        try:
            self.reopenIfNeeded()
            if self.stream is None:
                self.stream = self._open()
                self._statstream()
            self.stream.write(self.format(record) + self.terminator)
            self.stream.flush()
        except OSError as error:
            # Closing tries to write once more what is left; the line is lost either way.
            stream, self.stream = self.stream, None
            if stream is not None:
                with suppress(OSError, ValueError):
                    stream.close()
            self._missing.one_more(error.strerror or type(error).__name__)

    def close(self) -> None:
        """Close the file, and say what has not been said."""
        self._missing.say()
        with suppress(OSError):
            super().close()


def _ends_within_a_line(file: TextIOWrapper, path: str) -> bool:
    """Whether a full disk or a crash has left half a line, which the next one must not go on."""
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode) or not status.st_size:
        return False
    try:
        with Path(path).open("rb") as written:
            written.seek(-1, os.SEEK_END)
            return written.read(1) != b"\n"
    except OSError:
        return False


class Lines(QueueHandler):
    """Hands lines to the thread that writes; the one who asked the guard never waits for it."""

    def __init__(self, lines: Queue[logging.LogRecord | None]) -> None:
        super().__init__(lines)
        self._missing = _Missing()

    def enqueue(self, record: logging.LogRecord) -> None:
        """Queue one line, or count it as missing where the file is too slow."""
        try:
            self.queue.put_nowait(record)
        except Full:
            self._missing.one_more("they came faster than they could be written")

    def close(self) -> None:
        """Say what has not been said."""
        self._missing.say()
        super().close()


class Writer(QueueListener):
    """The thread that writes."""

    def __init__(self, lines: Queue[logging.LogRecord | None], file: AuditFile) -> None:
        super().__init__(lines, file)
        self._lines = lines
        self._file = file

    def stop(self) -> None:
        """Write what waits, then close the file."""
        super().stop()
        self._file.close()

    def enqueue_sentinel(self) -> None:
        """Ask the thread to end once it has written what waits; a full queue has room by then."""
        self._lines.put(None)
