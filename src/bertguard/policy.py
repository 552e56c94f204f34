"""Scores become actions here: thresholds per channel, and what happens when scanning fails."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bertguard.errors import ConfigurationError
from bertguard.segments import Channel, Role, Segment
from bertguard.verdict import Action

Mode = Literal["enforce", "shadow"]


def roles(names: Iterable[Role | str]) -> frozenset[Role]:
    """Roles by name or member.

    Raises:
        ConfigurationError: a name that is no role, or one name instead of several.
    """
    if isinstance(names, str):
        raise ConfigurationError(f"trusted_roles={names!r} is one string; use a list of roles")
    try:
        return frozenset(Role(name) for name in names)
    except ValueError as error:
        known = ", ".join(role.value for role in Role)
        raise ConfigurationError(f"trusted_roles: {error}; the roles are {known}") from None


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
        trusted_roles: roles whose texts are not scored. None leaves the choice to the edge. The
            middleware trusts nobody: the caller wrote every turn and chose the path. The client
            wrapper trusts `system`, `developer` and `assistant` (the application and the LLM wrote
            those), `definition` (of tools) and `embedding` (the input of embeddings and
            moderations endpoints, which nobody follows; the verdict notes it). A text is an
            `embedding` only at the plain path of such an endpoint, and nothing but its input.
        channels: how texts of a role are read, where that is not as the dialect says (tool results
            and documents as data, everything else as a prompt): `{"user": "data"}` for an
            application whose users paste what the model must only read.
    """

    thresholds: Mapping[Channel, Thresholds] | None = None
    mode: Mode = "enforce"
    on_unscanned: Literal["block", "flag", "allow"] | Action = Action.BLOCK
    trusted_roles: Collection[Role | str] | None = None
    channels: Mapping[Role, Channel] | None = None

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
            except (AttributeError, ValueError) as error:
                raise ConfigurationError(
                    f'thresholds: {error}; channels are "prompt" and "data"'
                ) from None
            for name, value in given.items():
                if not isinstance(value, Thresholds):
                    raise ConfigurationError(
                        f"thresholds[{name.value!r}]={value!r} is a {type(value).__name__}; use "
                        "Thresholds(flag_at=…, block_at=…)"
                    )
            object.__setattr__(self, "thresholds", given)
        if self.trusted_roles is not None:
            object.__setattr__(self, "trusted_roles", roles(self.trusted_roles))
        if self.channels is not None:
            try:
                read_as = {Role(role): Channel(name) for role, name in self.channels.items()}
            except ValueError as error:
                raise ConfigurationError(
                    f'channels: {error}; map roles to "prompt" or "data"'
                ) from None
            object.__setattr__(self, "channels", read_as)

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

    def trusts(self, role: Role, trusted: Collection[Role | str]) -> bool:
        """Whether texts of a role are not scored.

        `trusted` is what the edge says; it counts where the policy names no roles of its own.
        """
        return role in (trusted if self.trusted_roles is None else self.trusted_roles)

    def scored(
        self, segments: Sequence[Segment], trusted: Collection[Role | str]
    ) -> tuple[list[Segment], list[str]]:
        """The segments to score, each in its channel, and notes about what is left out."""
        channels = self.channels or {}
        chosen: list[Segment] = []
        notes: dict[str, None] = {}
        for segment in segments:
            if not self.trusts(segment.role, trusted):
                channel = channels.get(segment.role, segment.channel)
                same = channel is segment.channel
                chosen.append(segment if same else replace(segment, channel=channel))
            elif segment.role is Role.EMBEDDING:
                # One note for a whole list of inputs.
                notes[f"unscored_embedding at {'/'.join(segment.pointer.split('/')[:2])}"] = None
        return chosen, list(notes)
