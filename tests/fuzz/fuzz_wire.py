"""Coverage-guided fuzzing of bodies, dialects and views. No crash, no hang, bounded memory.

    pip install atheris
    python tests/fuzz/fuzz_wire.py -max_total_time=1800 -timeout=1 -rss_limit_mb=400 -max_len=20000

`-timeout=1` ends the run at an input that takes over a second. The interpreter and its
instrumented modules take about 200 MB of the memory limit themselves.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["bertguard"]):
    from bertguard.errors import UnreadableError
    from bertguard.views import views
    from bertguard.wire.request import read_request

PATHS = (
    "/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/messages/batches", "/api/chat",
    "/api/generate", "/v1beta/models/m:generateContent", "/v1/chat", "/v2/chat",
    "/model/m/converse", "/mcp", "/x", "/%2e%2e/v1//chat/completions/",
)  # fmt: skip
TYPES = (
    "application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b",
    "text/plain", "application/x-ndjson", "text/plain; charset=utf-16", "image/png", "",
)  # fmt: skip
ENCODINGS = ("", "", "", "gzip", "deflate", "identity", "br", "gzip, gzip")


def one_input(data: bytes) -> None:
    """Read one request and every view of every text in it."""
    given = atheris.FuzzedDataProvider(data)
    path = PATHS[given.ConsumeIntInRange(0, len(PATHS) - 1)]
    headers = [("content-type", TYPES[given.ConsumeIntInRange(0, len(TYPES) - 1)])]
    encoding = ENCODINGS[given.ConsumeIntInRange(0, len(ENCODINGS) - 1)]
    if encoding:
        headers.append(("content-encoding", encoding))
    query = given.ConsumeUnicodeNoSurrogates(given.ConsumeIntInRange(0, 60))
    body = given.ConsumeBytes(given.remaining_bytes())
    try:
        reading = read_request(body, path=path, headers=headers, query=query)
    except UnreadableError:
        return
    for segment in reading.segments:
        for view in views(segment.text):
            start, end = view.span(0, len(view.text))
            if not 0 <= start <= end <= len(segment.text):
                raise AssertionError(f"view {view.name} points outside the text")


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
