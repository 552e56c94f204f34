"""The audit file survives its disk: moved, full, gone and back again, or too slow."""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import pytest

from bertguard.guard import Guard
from bertguard.server.audit_file import AuditFile, Lines, Writer, write_audit_log
from support import ATTACK, KeywordScorer


@pytest.fixture
def guard() -> Iterator[Guard]:
    """A guard that knows one attack."""
    with Guard(KeywordScorer()) as found:
        yield found


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("audit", logging.INFO, "", 0, text, None, None)


def test_verdicts_reach_a_file_that_is_its_owners_alone(guard: Guard, tmp_path: Path) -> None:
    """Mode 0600, one JSON a line, all of them written when the writer has stopped."""
    path = tmp_path / "audit.jsonl"
    writer = write_audit_log(guard, path)
    for number in range(20):
        guard.check_sync(f"{ATTACK} {number}")
    writer.stop()
    assert path.stat().st_mode & 0o777 == 0o600
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [line["action"] for line in lines] == ["block"] * 20


def test_a_directory_that_goes_and_comes_back_costs_only_what_came_in_between(
    guard: Guard, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The thread that writes goes on; what is missing is said once, not for each line."""
    path = tmp_path / "logs" / "audit.jsonl"
    path.parent.mkdir()
    file = AuditFile(path)
    file.handle(record("first"))
    shutil.move(path.parent, tmp_path / "away")
    for _ in range(5):
        file.handle(record("lost"))
    assert [entry.getMessage() for entry in caplog.records] == [
        "verdicts missing from the audit log: 1 (No such file or directory)"
    ]
    path.parent.mkdir()
    file.handle(record("last"))
    assert path.read_text("utf-8") == "last\n"
    assert (tmp_path / "away" / "audit.jsonl").read_text("utf-8") == "first\n"
    file.close()
    assert caplog.records[-1].getMessage().startswith("verdicts missing from the audit log: 4 ")


def test_a_rotated_file_is_opened_again(tmp_path: Path) -> None:
    """What logrotate does: the old one is moved away, the new one is the owner's alone again."""
    path = tmp_path / "audit.jsonl"
    file = AuditFile(path)
    file.handle(record("old"))
    path.rename(tmp_path / "audit.jsonl.1")
    file.handle(record("new"))
    file.close()
    assert path.read_text("utf-8") == "new\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_half_a_line_of_before_is_ended_first(tmp_path: Path) -> None:
    """A disk that was full, or a crash, costs its own line and not the next one as well."""
    path = tmp_path / "audit.jsonl"
    path.write_text('{"action": "bl', "utf-8")
    file = AuditFile(path)
    file.handle(record("{}"))
    file.close()
    assert path.read_text("utf-8") == '{"action": "bl\n{}\n'


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a Linux device")
def test_a_full_disk_is_said_once_and_without_a_trace(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """`logging` would print a trace with the line in it, for each one."""
    lines: Queue[logging.LogRecord | None] = Queue()
    writer = Writer(lines, AuditFile(Path("/dev/full")))
    writer.start()
    for _ in range(5):
        lines.put(record("a secret"))
    writer.stop()
    assert [entry.getMessage() for entry in caplog.records] == [
        "verdicts missing from the audit log: 1 (No space left on device)",
        "verdicts missing from the audit log: 4 (No space left on device)",  # at the end
    ]
    assert capsys.readouterr().err == ""


def test_it_is_said_again_after_a_while(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the number that has gone missing since."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    lines = Lines(Queue(1))
    for _ in range(4):
        lines.handle(record("x"))
    now += 61
    lines.handle(record("x"))
    assert [entry.args[0] for entry in caplog.records if isinstance(entry.args, tuple)] == [1, 3]


def test_a_file_that_is_too_slow_holds_nobody_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The queue has a bound: what is beyond it is counted, said, and not written."""
    going = threading.Event()

    class SlowFile(AuditFile):
        def emit(self, record: logging.LogRecord) -> None:
            going.wait(10)
            super().emit(record)

    path = tmp_path / "audit.jsonl"
    waiting: Queue[logging.LogRecord | None] = Queue(3)
    lines, writer = Lines(waiting), Writer(waiting, SlowFile(path))
    writer.start()
    for number in range(50):
        lines.handle(record(str(number)))
    threading.Timer(0.1, going.set).start()
    writer.stop()  # with a full queue, too
    lines.close()
    written = path.read_text("utf-8").splitlines()
    assert written[:3] == ["0", "1", "2"]
    said = [entry.args[0] for entry in caplog.records if isinstance(entry.args, tuple)]
    assert sum(int(str(count)) for count in said) + len(written) == 50
    assert len(said) == 2
