"""Guard: a text or a request body -> Verdict. The whole walk is written down here, once."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from os import PathLike
from types import TracebackType
from typing import Self

from bertguard.batching import MicroBatcher, Scored
from bertguard.errors import ConfigurationError, DeadlineError, UnreadableError, UnscannedError
from bertguard.policy import Policy
from bertguard.scoring import Scorer, Window
from bertguard.segments import Channel, Role, Segment
from bertguard.verdict import Action, Finding, Verdict
from bertguard.views import View, views
from bertguard.wire.reading import Reading
from bertguard.wire.request import dialect_of, read_request

# A verdict names at most this many places; more say nothing new and only make logs long.
_MAX_FINDINGS = 32

# What a window belongs to: the segment's number and the view that it was cut from.
_Place = tuple[int, View]


class _Walk:
    """One check on its way: what was read, and what could not be."""

    def __init__(
        self, guard: Guard, source: Reading | _Body, trusted_roles: Collection[Role]
    ) -> None:
        self._guard = guard
        self._source = source
        own = guard.policy.trusted_roles
        self._trusted = frozenset(trusted_roles if own is None else own)
        # Until the body is read, its path is all that is known of the format of a refusal.
        self.dialect = dialect_of(source.path) if isinstance(source, _Body) else source.dialect
        self.segments: list[Segment] = []
        self.total_chars = 0
        self.scanned_chars = 0
        self.unscanned: list[str] = []
        self.notes: list[str] = []
        self.scored: list[Scored[_Place]] = []

    def windows(self) -> Iterator[tuple[_Place, Window]]:
        """Every window of every view of every segment; runs in a worker, piece by piece."""
        reading = self._source.read() if isinstance(self._source, _Body) else self._source
        self.dialect = reading.dialect
        self.unscanned += reading.unscanned
        self.notes += reading.notes
        self.segments = [s for s in reading.segments if s.role not in self._trusted]
        self.total_chars = sum(len(segment.text) for segment in self.segments)
        left = self._guard.max_windows
        for number, segment in enumerate(self.segments):
            found = views(segment.text)
            if found.truncated:
                self.notes.append(f"views_bounded at {segment.pointer or '/'}")
            for view in found:
                for window in self._guard.scorer.windows(view.text, segment.channel.value):
                    if left == 0:
                        self.unscanned.append(f"too_many_windows at {segment.pointer or '/'}")
                        return
                    left -= 1
                    yield (number, view), window
            self.scanned_chars += len(segment.text)


class _Body:
    """A request body that nobody has read yet; reading happens in a worker."""

    def __init__(
        self, body: bytes, path: str, headers: Sequence[tuple[str, str]], query: str
    ) -> None:
        self.body, self.path, self.headers, self.query = body, path, headers, query

    def read(self) -> Reading:
        return read_request(self.body, path=self.path, headers=self.headers, query=self.query)


class Guard:
    """Scores texts and request bodies, and says what the policy asks for.

    Safe to use from several event loops and threads at once, and after a fork.

    Args:
        scorer: a loaded checkpoint; `Guard.load` makes one.
        policy: the operator's decisions; None takes every default.
        max_windows: windows scored for one request; what lies beyond is *unscanned*, never cut
            silently. 4,096 windows of 256 tokens are about 3 million characters.
        timeout_seconds: for one request, waiting included; a request that takes longer is
            unscanned.
        max_batch_tokens: bound on `longest x count` of one model call.
        max_waiting_chars: bound on the text that waits to be scored; beyond it a request is
            refused at once as unscanned.
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        policy: Policy | None = None,
        max_windows: int = 4096,
        timeout_seconds: float = 30.0,
        max_batch_tokens: int = 1024,
        max_waiting_chars: int = 4_000_000,
    ) -> None:
        for name, value in (
            ("max_windows", max_windows),
            ("timeout_seconds", timeout_seconds),
            ("max_batch_tokens", max_batch_tokens),
            ("max_waiting_chars", max_waiting_chars),
        ):
            if not value > 0:
                raise ConfigurationError(
                    f"{name}={value!r} leaves no room to scan; use more than 0"
                )
        self.scorer = scorer
        self.policy = policy or Policy()
        self.max_windows = max_windows
        self.timeout_seconds = timeout_seconds
        self._thresholds = {
            channel: self.policy.thresholds_for(channel, scorer.thresholds) for channel in Channel
        }
        self._batcher: MicroBatcher[_Place] = MicroBatcher(
            scorer.score,
            workers=scorer.parallelism,
            max_batch_tokens=max_batch_tokens,
            max_waiting_cost=max_waiting_chars,
        )

    @classmethod
    def load(
        cls,
        checkpoint: str | PathLike[str] | None = None,
        *,
        device: str = "auto",
        policy: Policy | None = None,
        backend: str | None = None,
        dtype: str = "fp32",
        max_windows: int = 4096,
        timeout_seconds: float = 30.0,
        max_batch_tokens: int | None = None,
        max_waiting_chars: int = 4_000_000,
    ) -> Guard:
        """Load a checkpoint and put a guard around it.

        Args:
            checkpoint: a directory or a Hugging Face hub id; None is the bundled checkpoint.
            device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
            policy: see `Policy`.
            backend: `onnx` or `torch`; None takes onnx on the CPU where the checkpoint has the
                file, else torch.
            dtype: `fp32`, `bf16` or `fp16`, for the torch backend.
            max_windows: see the class, like the arguments that follow.
            timeout_seconds: for one request, waiting included.
            max_batch_tokens: None takes what suits the backend.
            max_waiting_chars: bound on the waiting text.

        Raises:
            CheckpointError: the checkpoint is missing, truncated, foreign or newer.
            DeviceError: the device is not there.
            MissingExtraError: the backend's packages are not installed.
        """
        from bertguard.model.loading import load_scorer

        scorer = load_scorer(checkpoint, device=device, backend=backend, dtype=dtype)
        return cls(
            scorer,
            policy=policy,
            max_windows=max_windows,
            timeout_seconds=timeout_seconds,
            max_batch_tokens=max_batch_tokens or scorer.max_batch_tokens,
            max_waiting_chars=max_waiting_chars,
        )

    @property
    def model_id(self) -> str:
        """Names checkpoint and backend."""
        return self.scorer.model_id

    # -- asynchronous ----------------------------------------------------------------------

    async def check(self, text: str, channel: Channel | str = Channel.PROMPT) -> Verdict:
        """Judge one text; `channel` says whether it talks to the LLM or is only read by it."""
        return await self._run(_Walk(self, _one(text, channel), ()))

    async def check_segments(
        self, segments: Sequence[Segment], *, trusted_roles: Collection[Role] = ()
    ) -> Verdict:
        """Judge several texts as one request; roles in `trusted_roles` are not scored."""
        return await self._run(_Walk(self, Reading("segments", tuple(segments)), trusted_roles))

    async def check_body(
        self,
        body: bytes,
        *,
        path: str = "",
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        query: str = "",
        trusted_roles: Collection[Role] = (),
    ) -> Verdict:
        """Judge one HTTP request body.

        `path`, `headers` and `query` (without "?") help to recognise the dialect; none of them
        can make a text go unread. A body that cannot be read in exactly one way is a blocking
        verdict with `unscanned=("unreadable:<reason>",)`, not an exception.
        """
        return await self._run(_Walk(self, _body(body, path, headers, query), trusted_roles))

    async def _run(self, walk: _Walk) -> Verdict:
        try:
            future = self._submit(walk)
            async with asyncio.timeout(self.timeout_seconds):
                scored = await asyncio.wrap_future(future)
        except TimeoutError:
            return self._failed(walk, DeadlineError())
        except (UnscannedError, UnreadableError) as error:
            return self._failed(walk, error)
        return self._judge(walk, scored, scanned_chars=walk.scanned_chars)

    # -- synchronous -----------------------------------------------------------------------

    def check_sync(self, text: str, channel: Channel | str = Channel.PROMPT) -> Verdict:
        """`check` for scripts; it blocks the calling thread, so never call it on an event loop."""
        return self._run_sync(_Walk(self, _one(text, channel), ()))

    def check_segments_sync(
        self, segments: Sequence[Segment], *, trusted_roles: Collection[Role] = ()
    ) -> Verdict:
        """`check_segments` for scripts and synchronous clients."""
        return self._run_sync(_Walk(self, Reading("segments", tuple(segments)), trusted_roles))

    def check_body_sync(
        self,
        body: bytes,
        *,
        path: str = "",
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        query: str = "",
        trusted_roles: Collection[Role] = (),
    ) -> Verdict:
        """`check_body` for scripts and synchronous clients."""
        return self._run_sync(_Walk(self, _body(body, path, headers, query), trusted_roles))

    def _run_sync(self, walk: _Walk) -> Verdict:
        try:
            future = self._submit(walk)
            try:
                scored = future.result(timeout=self.timeout_seconds)
            except TimeoutError:
                future.cancel()
                raise DeadlineError from None
        except (UnscannedError, UnreadableError) as error:
            return self._failed(walk, error)
        return self._judge(walk, scored, scanned_chars=walk.scanned_chars)

    # -- the walk's ends -------------------------------------------------------------------

    def _submit(self, walk: _Walk) -> Future[list[Scored[_Place]]]:
        source = walk._source
        if isinstance(source, _Body):
            cost = len(source.body) + len(source.query)
        else:
            cost = sum(len(segment.text) for segment in source.segments)
        return self._batcher.submit(
            walk.windows(),
            cost=cost,
            timeout_seconds=self.timeout_seconds,
            scored=walk.scored,
        )

    def _failed(self, walk: _Walk, error: UnscannedError | UnreadableError) -> Verdict:
        """The verdict on what could not be read (always refused) or scored (as configured)."""
        if isinstance(error, UnscannedError):
            # What was found before the failure stays found, also where `on_unscanned` lets pass.
            walk.unscanned.append(error.reason)
            return self._judge(walk, tuple(walk.scored), scanned_chars=0)
        return Verdict(
            action=Action.BLOCK,
            score=0.0,
            threshold=self._thresholds[Channel.PROMPT].flag_at,
            unscanned=(f"unreadable:{error.reason}",),
            model_id=self.model_id,
            dialect=walk.dialect,
            enforced=self.policy.mode == "enforce",
        )

    def _judge(
        self, walk: _Walk, scored: Sequence[Scored[_Place]], *, scanned_chars: int
    ) -> Verdict:
        findings = self._findings(walk, scored)
        action = max(
            (finding.action for finding in findings), key=lambda a: a.severity, default=Action.ALLOW
        )
        if walk.unscanned:
            action = max(action, self.policy.unscanned_action, key=lambda a: a.severity)
        if findings:
            score, threshold = findings[0].score, findings[0].threshold
        else:
            top = max(scored, key=lambda s: s.score, default=None)
            channel = walk.segments[top.key[0]].channel if top else Channel.PROMPT
            score = top.score if top else 0.0
            threshold = self._thresholds[channel].flag_at
        return Verdict(
            action=action,
            score=score,
            threshold=threshold,
            findings=tuple(findings[:_MAX_FINDINGS]),
            unscanned=tuple(walk.unscanned),
            scanned_chars=scanned_chars,
            total_chars=walk.total_chars,
            model_id=self.model_id,
            dialect=walk.dialect,
            enforced=self.policy.mode == "enforce",
            notes=tuple(walk.notes),
        )

    def _findings(self, walk: _Walk, scored: Sequence[Scored[_Place]]) -> list[Finding]:
        """Places at or over a threshold: overlapping windows merged, the worst place first."""
        hits: dict[int, list[tuple[int, int, float, str]]] = {}
        for item in scored:
            number, view = item.key
            if item.score >= self._thresholds[walk.segments[number].channel].flag_at:
                start, end = view.span(item.start, item.end)
                hits.setdefault(number, []).append((start, end, item.score, view.name))
        findings = []
        for number, spans in hits.items():
            segment = walk.segments[number]
            thresholds = self._thresholds[segment.channel]
            for start, end, score, view_name in _merged(spans):
                action = thresholds.action(score)
                findings.append(
                    Finding(
                        action=action,
                        score=score,
                        threshold=thresholds.block_at
                        if action is Action.BLOCK
                        else thresholds.flag_at,
                        channel=segment.channel,
                        role=segment.role,
                        pointer=segment.pointer,
                        start=start,
                        end=end,
                        view=view_name,
                    )
                )
        findings.sort(key=lambda f: (-f.action.severity, -f.score, f.pointer, f.start))
        return findings

    # -- life ------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop the worker threads. A guard that is forgotten or at exit closes by itself."""
        self._batcher.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Joining the workers waits for the batch in flight: off the loop.
        await asyncio.to_thread(self.close)


def _merged(spans: list[tuple[int, int, float, str]]) -> list[tuple[int, int, float, str]]:
    """Overlapping spans of one segment joined; each keeps its best score and that score's view."""
    merged: list[tuple[int, int, float, str]] = []
    for start, end, score, view in sorted(spans):
        if merged and start < merged[-1][1]:
            first, last, best, best_view = merged[-1]
            if score > best:
                best, best_view = score, view
            merged[-1] = (first, max(last, end), best, best_view)
        else:
            merged.append((start, end, score, view))
    return merged


def _one(text: str, channel: Channel | str) -> Reading:
    try:
        known = Channel(channel)
    except ValueError:
        raise ConfigurationError(
            f'channel={channel!r} is unknown; use "prompt" (somebody talks to the LLM) or "data" '
            "(a document or tool result that it only reads)"
        ) from None
    role = Role.USER if known is Channel.PROMPT else Role.TOOL
    return Reading("text", (Segment(text, role, known),))


def _body(
    body: bytes, path: str, headers: Mapping[str, str] | Sequence[tuple[str, str]], query: str
) -> _Body:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return _Body(body, path, tuple(pairs), query)
