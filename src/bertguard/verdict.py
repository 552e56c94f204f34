"""What was found in a text or a request, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from bertguard.segments import Channel, Role


class Action(StrEnum):
    """What the policy asks for, in rising order of severity."""

    ALLOW = "allow"
    FLAG = "flag"
    BLOCK = "block"

    @property
    def severity(self) -> int:
        """0 for allow, 1 for flag, 2 for block: `max(actions, key=...)` picks the strictest."""
        return ("allow", "flag", "block").index(self.value)


@dataclass(frozen=True, slots=True)
class Finding:
    """One place that reached a threshold. It says where, never what: it holds no prompt text.

    `start` and `end` are character offsets (Python string indices, end exclusive) into the
    segment at `pointer`. `view` names the reading in which the attack showed ("as_written",
    "folded", "base64", …).
    """

    action: Action
    score: float
    threshold: float
    channel: Channel
    role: Role
    pointer: str
    start: int
    end: int
    view: str = "as_written"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of the guard to one text or one request.

    `score` is the highest P(injection) over everything that was scored, in [0, 1], and
    `threshold` is the `flag_at` or `block_at` that it was held against. `unscanned` lists why
    something could not be read or scored (empty: every character was). With `enforced` False
    (shadow mode) the action is a report and the request passes.
    """

    action: Action
    score: float
    threshold: float
    findings: tuple[Finding, ...] = ()
    unscanned: tuple[str, ...] = ()
    scanned_chars: int = 0
    total_chars: int = 0
    model_id: str = ""
    dialect: str = "text"
    enforced: bool = True
    notes: tuple[str, ...] = field(default=())

    @property
    def blocked(self) -> bool:
        """True where the request must not go on: the action is block and the policy enforces."""
        return self.enforced and self.action is Action.BLOCK

    @property
    def status(self) -> str:
        """`scanned`, or `unscanned` where some of the text could not be read or scored."""
        return "unscanned" if self.unscanned else "scanned"

    def to_dict(self) -> dict[str, object]:
        """The verdict as JSON-ready values; like the verdict itself it holds no prompt text."""
        return {
            "action": self.action.value,
            "blocked": self.blocked,
            "enforced": self.enforced,
            "score": round(self.score, 6),
            "threshold": round(self.threshold, 6),
            "status": self.status,
            "unscanned": list(self.unscanned),
            "notes": list(self.notes),
            "findings": [
                {
                    "action": f.action.value,
                    "score": round(f.score, 6),
                    "threshold": round(f.threshold, 6),
                    "channel": f.channel.value,
                    "role": f.role.value,
                    "pointer": f.pointer,
                    "start": f.start,
                    "end": f.end,
                    "view": f.view,
                }
                for f in self.findings
            ],
            "scanned_chars": self.scanned_chars,
            "total_chars": self.total_chars,
            "model": self.model_id,
            "dialect": self.dialect,
        }
