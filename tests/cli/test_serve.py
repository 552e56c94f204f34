"""`guard serve` as a process: starts, answers, refuses, stops."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from support import ATTACK, BENIGN


@contextmanager
def serving(*options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The real command on a free port; yields its URL."""
    process = subprocess.Popen(  # noqa: S603  # our own command
        [sys.executable, "-m", "bertguard", "serve", "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        url = ""
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"http://[\d.]+:\d+", line):
                url = found[0]
                break
        yield url, process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        if process.stdout is not None and not process.stdout.closed:
            process.communicate(timeout=20)


def chat(url: str, text: str, **more: object) -> httpx.Response:
    body = {"model": "echo", "messages": [{"role": "user", "content": text}], **more}
    return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=30)


def test_the_main_job_runs() -> None:
    """With the bundled checkpoint: answered, streamed, refused in the OpenAI shape."""
    with serving() as (url, process):
        assert httpx.get(f"{url}/healthz", timeout=30).status_code == 200
        answered = chat(url, BENIGN)
        assert answered.status_code == 200
        assert "capital of France" in answered.json()["choices"][0]["message"]["content"]
        streamed = chat(url, BENIGN, stream=True)
        assert streamed.headers["content-type"].startswith("text/event-stream")
        assert streamed.text.rstrip().endswith("data: [DONE]")
        refused = chat(url, ATTACK)
        assert refused.status_code == 400
        assert refused.json()["error"]["code"] == "content_filter"
        assert ATTACK not in refused.text
        scored = httpx.post(f"{url}/v1/check", json={"text": ATTACK}, timeout=30).json()
        assert scored["action"] == "block"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0


def test_a_second_interruption_ends_it_without_a_trace(checkpoint: Path) -> None:
    """People press Ctrl-C twice; what that cuts off is no error of the program."""
    with serving("--checkpoint", str(checkpoint)) as (url, process):
        assert httpx.get(f"{url}/healthz", timeout=30).status_code == 200
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=20)
        assert process.returncode == 0
        assert "guard: stopped" in said
        assert "Traceback" not in said


def test_a_checkpoint_and_a_mode_are_options(checkpoint: Path) -> None:
    """Another checkpoint judges, and shadow mode lets everything pass."""
    with serving("--checkpoint", str(checkpoint), "--mode", "shadow") as (url, _):
        assert chat(url, ATTACK).status_code == 200


def test_operators_see_metrics_and_an_audit_log(checkpoint: Path, tmp_path: Path) -> None:
    """Prometheus text at /metrics, with the process's own; a line of JSON for what is refused."""
    log = tmp_path / "audit.jsonl"
    options = ("--checkpoint", str(checkpoint), "--metrics", "--audit-log", str(log))
    with serving(*options, "--flag-at", "0.0001", "--block-at", "0.0001") as (url, _):
        assert chat(url, BENIGN).status_code == 400
        shown = httpx.get(f"{url}/metrics", timeout=30).text
    assert re.search(r'bertguard_verdicts_total\{action="block".*openai\.chat.*\} 1\.0', shown)
    assert "process_resident_memory_bytes" in shown
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    # The first is the text that warms the guard up.
    assert [line["dialect"] for line in lines] == ["text", "openai.chat"]
    assert lines[1]["blocked"] is True
    assert BENIGN not in log.read_text("utf-8")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a Linux device")
def test_an_audit_log_on_a_full_disk_is_one_line_and_no_trace(checkpoint: Path) -> None:
    """The server goes on, and its operator reads what is missing, not a trace for each verdict."""
    options = ("--checkpoint", str(checkpoint), "--audit-log", "/dev/full")
    with serving(*options, "--flag-at", "0.0001", "--block-at", "0.0001") as (url, process):
        for _ in range(3):
            assert chat(url, BENIGN).status_code == 400
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in said
    # One at once, one with the rest at the end.
    assert said.count("verdicts missing from the audit log") == 2


def test_a_websocket_is_refused_and_nothing_is_advised(checkpoint: Path) -> None:
    """The client is told; uvicorn would tell the operator to install a library for them."""
    options = ("--checkpoint", str(checkpoint), "--upstream", "http://127.0.0.1:1")
    handshake = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    with serving(*options) as (url, process):
        refused = httpx.get(f"{url}/v1/realtime", headers=handshake, timeout=30)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=20)
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "websocket_not_forwarded"
    assert "upgrade" not in said
    assert "WebSocket" not in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--mode", "lenient"), "lenient"),
        (("--on-unscanned", "hope"), "hope"),
        (("--flag-at", "data=2"), "2"),
        (("--upstream", "ftp://example.com"), "http(s)"),
        (("--upstream", "http://xn--.x"), "not a URL"),
        (("--upstream", "http://example.com:65536"), "65535"),
        (("--port", "99999"), "65535"),
        (("--read-timeout", "0"), "more than 0"),
        (("--audit-log", "/nowhere/audit.jsonl"), "--audit-log"),
    ],
)
def test_an_option_that_cannot_work_stops_the_start(options: tuple[str, ...], words: str) -> None:
    """Exit code 2 and what was wrong, at once."""
    done = subprocess.run(  # noqa: S603  # our own command
        [sys.executable, "-m", "bertguard", "serve", "--port", "0", *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert words in done.stderr
