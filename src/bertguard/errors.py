"""Everything bertguard raises, as one tree.

    GuardError
    ├── ConfigurationError      an option that cannot work (also a ValueError)
    │   └── DeviceError         a device that is not there
    ├── MissingExtraError       a feature whose extra is not installed (also an ImportError)
    ├── CheckpointError         a checkpoint directory: missing, truncated, foreign, newer
    ├── DataError               a labelled file: names file, line and what was expected
    ├── UnreadableError         a request body that two readers could read differently
    └── UnscannedError          a text that could not be scored
        ├── QueueFullError      too much work is waiting already
        ├── DeadlineError       no score within the time allowed
        └── ScorerError         the model itself failed

A message says what was found, what was expected and what to do. It never holds prompt text.
"""

from __future__ import annotations


class GuardError(Exception):
    """The root: catching it catches everything bertguard raises on purpose."""


class ConfigurationError(GuardError, ValueError):
    """An option that cannot work."""


class DeviceError(ConfigurationError):
    """A device that is not there; never replaced quietly by another one."""


class MissingExtraError(GuardError, ImportError):
    """A feature whose optional dependencies are not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f'{feature} needs the extra "{extra}": pip install "bertguard[{extra}]"')
        self.extra = extra


class CheckpointError(GuardError):
    """A checkpoint directory that cannot be used; the message names the file."""


class DataError(GuardError):
    """A labelled file with a bad row; the message names file and line."""


class UnreadableError(GuardError):
    """A request body that cannot be read in exactly one way.

    `reason` is a short machine-readable word such as `duplicate_key` or `invalid_utf8`.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class UnscannedError(GuardError):
    """A text that could not be scored; `reason` is the word that the verdict carries."""

    reason = "unscanned"


class QueueFullError(UnscannedError):
    """More work is waiting than the queue may hold."""

    reason = "queue_full"


class DeadlineError(UnscannedError):
    """No score within the time allowed."""

    reason = "deadline"


class ScorerError(UnscannedError):
    """The model failed while scoring."""

    reason = "scorer_error"
