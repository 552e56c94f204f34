"""Coverage-guided fuzzing of bodies, dialects and views. No crash, no hang, bounded memory.

    pip install atheris
    mkdir found
    python tests/fuzz/fuzz_wire.py found -max_total_time=1800 -timeout=1 -rss_limit_mb=250 \
        -max_len=20000

`found` collects inputs that reach something new; an empty directory is filled with the conformance
corpus first. `-timeout=1` ends the run at an input that takes over a second (on a busy machine
give the file that it leaves to the same command, alone, before believing it). The interpreter and
its instrumented modules take about 50 MB of the memory limit themselves.
"""

from __future__ import annotations

import base64
import gzip
import json
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["bertguard"]):
    from bertguard.errors import UnreadableError
    from bertguard.views import views
    from bertguard.wire.request import read_request

PATHS = (
    "/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/messages/batches", "/api/chat",
    "/api/generate", "/v1beta/models/m:generateContent", "/v1/chat", "/v2/chat",
    "/model/m/converse", "/mcp", "/x", "/%2e%2e/v1//chat/completions/", "/v1/embeddings",
    "/v1/completions", "/v1beta/models/m:batchGenerateContent", "/model/m/invoke", "/api/embed",
)  # fmt: skip
TYPES = (
    "application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=XX",
    "text/plain", "application/x-ndjson", "text/plain; charset=utf-16", "image/png", "",
)  # fmt: skip


def _as_it_is(body: bytes) -> bytes:
    return body


# What the header says, and what is done to the body: random bytes are never a whole gzip stream.
ENCODINGS: tuple[tuple[str, Callable[[bytes], bytes]], ...] = (
    ("", _as_it_is), ("gzip", gzip.compress), ("deflate", zlib.compress), ("gzip", _as_it_is),
    ("deflate", _as_it_is), ("identity", _as_it_is), ("br", _as_it_is),
    ("gzip, gzip", gzip.compress),
)  # fmt: skip


def one_input(data: bytes) -> None:
    """Read one request and every view of every text in it.

    Four bytes choose path, content type, encoding and length of the query string; then come the
    query string and the body.
    """
    if len(data) < 4:
        return
    path = PATHS[data[0] % len(PATHS)]
    headers = [("content-type", TYPES[data[1] % len(TYPES)])]
    encoding, pack = ENCODINGS[data[2] % len(ENCODINGS)]
    if encoding:
        headers.append(("content-encoding", encoding))
    query, body = data[4 : 4 + data[3]], data[4 + data[3] :]
    try:
        reading = read_request(
            pack(body), path=path, headers=headers, query=query.decode("latin-1")
        )
    except UnreadableError:
        return
    for segment in reading.segments:
        for view in views(segment.text):
            start, end = view.span(0, len(view.text))
            if not 0 <= start <= end <= len(segment.text):
                raise AssertionError(f"view {view.name} points outside the text")


def seed(directory: Path) -> None:
    """The conformance corpus in the form that `one_input` takes."""
    corpus = Path(__file__).parent.parent / "wire" / "corpus"
    lines = [line for file in sorted(corpus.glob("*.jsonl")) for line in file.open("rb")]
    for number, line in enumerate(lines):
        case = json.loads(line)
        body = case["body"].encode() if "body" in case else base64.b64decode(case["body_base64"])
        kind = case["headers"].get("content-type", "")
        encoding = case["headers"].get("content-encoding", "")
        choice = (
            PATHS.index(case["path"] if case["path"] in PATHS else "/x"),
            TYPES.index(kind if kind in TYPES else ""),
            ENCODINGS.index((encoding, _as_it_is)) if encoding in ("gzip", "deflate") else 0,
        )
        query = case.get("query", "").encode()[:255]
        (directory / f"seed-{number}").write_bytes(bytes((*choice, len(query))) + query + body)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        if Path(argument).is_dir() and not any(Path(argument).iterdir()):
            seed(Path(argument))
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
