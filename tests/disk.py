"""A disk that is full, without filling one."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bertguard.model import writing


@contextmanager
def full_disk(
    monkeypatch: pytest.MonkeyPatch, *, room: int, probe: int | None = None
) -> Iterator[None]:
    """Within, no file grows beyond `room` bytes; `probe` bytes are tried before the work."""
    if probe is not None:
        monkeypatch.setattr(writing, "_PROBE_BYTES", probe)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
