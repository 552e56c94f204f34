"""Scores become actions here: thresholds per channel, and what happens when scanning fails."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bertguard.errors import ConfigurationError
from bertguard.segments import Channel, Role
from bertguard.verdict import Action

Mode = Literal["enforce", "shadow"]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Two probabilities: at `flag_at` a text is reported, at `block_at` it is refused."""

    flag_at: float
    block_at: float

    def __post_init__(self) -> None:
        for name in ("flag_at", "block_at"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= 1):
                raise ConfigurationError(
                    f"{name}={value!r} is not a probability; use a number in [0, 1]"
                )
        if self.flag_at > self.block_at:
            raise ConfigurationError(
                f"flag_at={self.flag_at} is above block_at={self.block_at}; "
                "what is blocked must also be flagged, so use flag_at <= block_at"
            )

    def action(self, score: float) -> Action:
        """`score >= block_at` blocks, `score >= flag_at` flags, anything lower passes."""
        if score >= self.block_at:
            return Action.BLOCK
        return Action.FLAG if score >= self.flag_at else Action.ALLOW


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator decided. A request can never loosen it.

    Args:
        thresholds: per channel; a channel that is left out uses the checkpoint's own.
        mode: `enforce` acts on verdicts, `shadow` only reports them.
        on_unscanned: the action when a text could not be scored (queue full, deadline, model
            error, too many windows, content that is no text). The default refuses.
            A body that cannot be *read* is refused whatever this says.
        trusted_roles: roles whose texts are not scored. None leaves the choice to the edge: the
            middleware trusts nobody (the caller wrote every turn), the client wrapper trusts
            system, developer and assistant (the application and the LLM wrote those).
    """

    thresholds: Mapping[Channel, Thresholds] | None = None
    mode: Mode = "enforce"
    on_unscanned: Literal["block", "flag", "allow"] | Action = Action.BLOCK
    trusted_roles: frozenset[Role] | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("enforce", "shadow"):
            raise ConfigurationError(f'mode={self.mode!r} is unknown; use "enforce" or "shadow"')
        try:
            object.__setattr__(self, "on_unscanned", Action(self.on_unscanned))
        except ValueError:
            raise ConfigurationError(
                f'on_unscanned={self.on_unscanned!r} is unknown; use "block", "flag" or "allow"'
            ) from None
        if self.thresholds is not None:
            try:
                given = {Channel(name): value for name, value in self.thresholds.items()}
            except ValueError as error:
                raise ConfigurationError(
                    f'thresholds: {error}; channels are "prompt" and "data"'
                ) from None
            object.__setattr__(self, "thresholds", given)

    @property
    def unscanned_action(self) -> Action:
        """`on_unscanned` as an `Action`."""
        return Action(self.on_unscanned)

    def thresholds_for(
        self, channel: Channel, defaults: Mapping[str, tuple[float, float]]
    ) -> Thresholds:
        """The thresholds of one channel: the operator's, else the checkpoint's `defaults`."""
        if self.thresholds is not None and channel in self.thresholds:
            return self.thresholds[channel]
        flag_at, block_at = defaults[channel.value]
        return Thresholds(flag_at, block_at)
