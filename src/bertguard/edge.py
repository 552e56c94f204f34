"""What the two edges share: how options are read, and verdicts where the guard has given none."""

from __future__ import annotations

import logging
import traceback

from bertguard.errors import ConfigurationError
from bertguard.guard import Guard
from bertguard.verdict import Action, Verdict
from bertguard.wire.dialects import dialect_of
from bertguard.wire.request import prose_of

# The threshold is out of the way of anyone who compares it with the score.
NOTHING_TO_READ = Verdict(Action.ALLOW, 0.0, 1.0, dialect="empty", notes=("nothing_to_read",))

TOO_LARGE = "too_large"
INTERNAL_ERROR = "internal_error"


def checked_guard(guard: object) -> Guard:
    """The guard, or an error where it is none.

    Whatever has `check_body` is taken, so that a guard may be wrapped.

    Raises:
        ConfigurationError: something else was given.
    """
    if not hasattr(guard, "check_body"):
        raise ConfigurationError(f"guard is a {type(guard).__name__}; use a Guard")
    return guard  # type: ignore[return-value] # by its shape


def checked_cap(max_body_bytes: int) -> int:
    """The cap on bodies, or an error where it leaves no room for any.

    Raises:
        ConfigurationError: it is not above 0.
    """
    if max_body_bytes <= 0:
        raise ConfigurationError(
            f"max_body_bytes={max_body_bytes} refuses every body; use a number of bytes above 0"
        )
    return max_body_bytes


def is_report(name: bytes) -> bool:
    """Whether a header is one that the guard reports with, so that nobody else's may pass for it.

    Gateways read "_" and "-" as the same character.
    """
    return name.lower().replace(b"_", b"-").startswith(b"x-guard-")


def nothing_to_read(path: str, query: str, body: bytes) -> bool:
    """Whether a request holds no text at all, so that a health probe need not wait for a model.

    The path is decoded.
    """
    return not (body or query or prose_of(path))


def not_judged(reason: str, *, path: str, guard: Guard | None) -> Verdict:
    """Blocked as unscanned, whatever `on_unscanned` says; only shadow mode lets it pass."""
    return Verdict(
        Action.BLOCK,
        score=0.0,
        threshold=1.0,
        unscanned=(reason,),
        dialect=dialect_of(path),
        enforced=guard is None or guard.policy.mode == "enforce",
    )


def told(verdict: Verdict, guard: Guard | None) -> Verdict:
    """The verdict, after the guard's observers have heard of it; what wraps a guard may have none.

    What the guard says itself it has told already.
    """
    observers = getattr(guard, "observers", None)
    if observers is not None:
        observers.tell(verdict, 0.0)
    return verdict


def log_failure(logger: logging.Logger, error: Exception) -> None:
    """Report a bug in the guard by type and place; the message of an error may quote the text."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    logger.error(
        "the guard failed with %s at %s:%s; the request counts as unscanned",
        type(error).__name__,
        place.filename,
        place.lineno,
    )
