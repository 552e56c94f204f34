"""Guard: a text or a request body -> Verdict."""

from __future__ import annotations

import asyncio
import copy
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from os import PathLike
from types import TracebackType
from typing import Self

from bertguard.batching import MicroBatcher, Scored
from bertguard.errors import ConfigurationError, DeadlineError, UnreadableError, UnscannedError
from bertguard.findings import MAX_FINDINGS, Place, findings_of, scores_by_segment
from bertguard.memory import Memory
from bertguard.policy import Policy, Thresholds
from bertguard.scoring import Scorer
from bertguard.segments import Channel, Role, Segment
from bertguard.verdict import Action, Verdict
from bertguard.walk import Body, Walk, one_text
from bertguard.watching import Observer, Observers
from bertguard.wire.reading import Reading


def require_asyncio() -> None:
    """Refuse to run outside asyncio, whose event loop every wait for a score needs.

    Raises:
        ConfigurationError: no event loop of asyncio is running here, as under trio.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigurationError(
            "no event loop of asyncio is running (is this trio?), and the guard's asynchronous "
            "side needs one; run it under asyncio, or use check_sync and its like in a thread"
        ) from None


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
        remembered_texts: how many scored texts are remembered, so that a growing chat costs its
            new text only; as keyed hashes, in this process. 0 remembers none.
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
        remembered_texts: int = 16_384,
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
        self.memory = Memory(remembered_texts)
        self.observers = Observers()
        self._thresholds = {
            channel: self.policy.thresholds_for(channel, scorer.thresholds) for channel in Channel
        }
        self._batcher: MicroBatcher[Place] = MicroBatcher(
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
        remembered_texts: int = 16_384,
    ) -> Guard:
        """Load a checkpoint and put a guard around it.

        Args:
            checkpoint: a directory or a Hugging Face hub id; None or `bundled` is the checkpoint
                of the package.
            device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
            policy: see `Policy`.
            backend: `onnx` or `torch`; None takes onnx on the CPU where the checkpoint has the
                file, else torch.
            dtype: `fp32`, `bf16` or `fp16`, for the torch backend.
            max_windows: see the class, like the arguments that follow.
            timeout_seconds: for one request, waiting included.
            max_batch_tokens: None takes what suits the backend.
            max_waiting_chars: bound on the waiting text.
            remembered_texts: how many scored texts are remembered.

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
            remembered_texts=remembered_texts,
        )

    def with_policy(self, policy: Policy) -> Self:
        """The same model, workers and bounds under another policy, e.g. for one route.

        Closing either closes both.
        """
        twin = copy.copy(self)
        twin.policy = policy
        twin._thresholds = {
            channel: policy.thresholds_for(channel, self.scorer.thresholds) for channel in Channel
        }
        if twin._thresholds != self._thresholds:
            # What is remembered of a text are the places at or over `flag_at`.
            twin.memory = Memory(self.memory.entries, self.memory.tally)
        return twin

    @property
    def model_id(self) -> str:
        """Names checkpoint and backend."""
        return self.scorer.model_id

    def thresholds_of(self, channel: Channel | str) -> Thresholds:
        """What counts in a channel: the policy's thresholds, else the checkpoint's."""
        return self._thresholds[Channel(channel)]

    @property
    def waiting_chars(self) -> int:
        """Characters that wait to be scored, about."""
        return self._batcher.waiting_cost

    def watch(self, observer: Observer) -> None:
        """Tell `observer` of every verdict from now on; see `bertguard.server.telemetry`."""
        self.observers.add(observer)

    # -- asynchronous ----------------------------------------------------------------------

    async def check(self, text: str, channel: Channel | str = Channel.PROMPT) -> Verdict:
        """Judge one text; `channel` says whether it talks to the LLM or is only read by it."""
        return await self._run(Walk(self, one_text(text, channel), ()))

    async def check_segments(
        self, segments: Sequence[Segment], *, trusted_roles: Collection[Role] = ()
    ) -> Verdict:
        """Judge several texts as one request; roles in `trusted_roles` are not scored."""
        return await self._run(Walk(self, Reading("segments", tuple(segments)), trusted_roles))

    async def check_body(
        self,
        body: bytes,
        *,
        path: str = "",
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        query: str = "",
        trusted_roles: Collection[Role] = (),
        timeout_seconds: float | None = None,
    ) -> Verdict:
        """Judge one HTTP request body.

        `path`, `headers` and `query` (without "?") help to recognise the dialect; none of them
        can make a text go unread. A body that cannot be read in exactly one way is a blocking
        verdict with `unscanned=("unreadable:<reason>",)`, not an exception. `timeout_seconds` can
        only shorten the guard's own.
        """
        walk = Walk(self, Body.of(body, path, headers, query), trusted_roles)
        return await self._run(walk, timeout_seconds)

    async def _run(self, walk: Walk, timeout_seconds: float | None = None) -> Verdict:
        require_asyncio()
        begun = time.perf_counter()
        seconds = self._seconds(timeout_seconds)
        try:
            future = self._submit(walk, seconds)
            async with asyncio.timeout(seconds):
                scored = await asyncio.wrap_future(future)
            verdict = self._judge(walk, scored, scanned_chars=walk.scanned_chars)
        except TimeoutError:
            verdict = self._failed(walk, DeadlineError())
        except (UnscannedError, UnreadableError) as error:
            verdict = self._failed(walk, error)
        self.observers.tell(verdict, time.perf_counter() - begun)
        return verdict

    # -- synchronous -----------------------------------------------------------------------

    def check_sync(self, text: str, channel: Channel | str = Channel.PROMPT) -> Verdict:
        """`check` for scripts; it blocks the calling thread, so never call it on an event loop."""
        return self._run_sync(Walk(self, one_text(text, channel), ()))

    def check_segments_sync(
        self, segments: Sequence[Segment], *, trusted_roles: Collection[Role] = ()
    ) -> Verdict:
        """`check_segments` for scripts and synchronous clients."""
        return self._run_sync(Walk(self, Reading("segments", tuple(segments)), trusted_roles))

    def check_body_sync(
        self,
        body: bytes,
        *,
        path: str = "",
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        query: str = "",
        trusted_roles: Collection[Role] = (),
        timeout_seconds: float | None = None,
    ) -> Verdict:
        """`check_body` for scripts and synchronous clients."""
        walk = Walk(self, Body.of(body, path, headers, query), trusted_roles)
        return self._run_sync(walk, timeout_seconds)

    def _run_sync(self, walk: Walk, timeout_seconds: float | None = None) -> Verdict:
        begun = time.perf_counter()
        seconds = self._seconds(timeout_seconds)
        try:
            future = self._submit(walk, seconds)
            try:
                scored = future.result(timeout=seconds)
            except TimeoutError:
                future.cancel()
                raise DeadlineError from None
            except BaseException:  # from a handler of signals: Ctrl-C, a soft limit of time
                future.cancel()
                raise
            verdict = self._judge(walk, scored, scanned_chars=walk.scanned_chars)
        except (UnscannedError, UnreadableError) as error:
            verdict = self._failed(walk, error)
        self.observers.tell(verdict, time.perf_counter() - begun)
        return verdict

    # -- the walk's ends -------------------------------------------------------------------

    def _seconds(self, asked: float | None) -> float:
        return self.timeout_seconds if asked is None else min(asked, self.timeout_seconds)

    def _submit(self, walk: Walk, seconds: float) -> Future[list[Scored[Place]]]:
        return self._batcher.submit(
            walk.windows(),
            cost=walk.cost,
            cost_when_read=lambda: walk.total_chars,
            timeout_seconds=seconds,
            scored=walk.scored,
        )

    def _failed(self, walk: Walk, error: UnscannedError | UnreadableError) -> Verdict:
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

    def _judge(self, walk: Walk, scored: Sequence[Scored[Place]], *, scanned_chars: int) -> Verdict:
        fresh = scores_by_segment(scored, walk.segments, self._thresholds)
        # Those scored whole, also where time ran out: the next attempt goes on from there.
        counts = Counter(item.key[0] for item in scored)
        for number, found in fresh.items():
            if counts[number] == walk.counts.get(number):
                noted = found._replace(notes=tuple(walk.noted.get(number, ())))
                self.memory.keep(walk.keys[number], noted)
        scores = fresh | walk.known
        findings = findings_of(scores, walk.segments, self._thresholds)
        action = max(
            (finding.action for finding in findings), key=lambda a: a.severity, default=Action.ALLOW
        )
        if walk.unscanned:
            action = max(action, self.policy.unscanned_action, key=lambda a: a.severity)
        if findings:
            score, threshold = findings[0].score, findings[0].threshold
        else:
            top = max(scores, key=lambda place: scores[place].top, default=None)
            channel = Channel.PROMPT if top is None else walk.segments[top].channel
            score = 0.0 if top is None else scores[top].top
            threshold = self._thresholds[channel].flag_at
        return Verdict(
            action=action,
            score=score,
            threshold=threshold,
            findings=tuple(findings[:MAX_FINDINGS]),
            unscanned=tuple(walk.unscanned),
            scanned_chars=scanned_chars,
            total_chars=walk.total_chars,
            model_id=self.model_id,
            dialect=walk.dialect,
            enforced=self.policy.mode == "enforce",
            notes=tuple(walk.notes),
        )

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
