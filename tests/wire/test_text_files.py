"""A text that cannot be decoded is told apart from a document that holds text."""

from __future__ import annotations

import base64
import json

import pytest

from bertguard.wire.request import read_request

CSV = "Name;Stadt\r\nJosé;Zürich\r\n" * 4


@pytest.mark.parametrize(
    ("name", "kind", "content", "reason"),
    [
        ("a.csv", "application/octet-stream", CSV.encode("latin-1"), "undecodable_text"),
        ("A.TXT", "application/octet-stream", b"\x00\xff", "undecodable_text"),
        ("upload", "text/plain", CSV.encode("latin-1"), "undecodable_text"),
        ("upload", "Text/CSV; charset=iso-8859-1", CSV.encode("latin-1"), "undecodable_text"),
        ("upload", "text/csv; charset=utf-7", b"plain", "undecodable_text"),
        ("upload", "application/octet-stream", CSV.encode("latin-1"), "document_media"),
        ("a.pdf", "application/pdf", b"%PDF-1.7 \xff", "document_media"),
        ("a.txt", "text/plain", b"%PDF-1.7 \xff", "document_media"),
        ("a.csv", "text/csv; charset=utf-16", CSV.encode("utf-16"), ""),
        ("a.csv", "text/csv; charset=iso-8859-1", CSV.encode(), ""),
    ],
)
def test_a_file_of_a_form(name: str, kind: str, content: bytes, reason: str) -> None:
    """By the type and the name that come with it; a charset counts as ever."""
    head = f'--q\r\ncontent-disposition: form-data; name="file"; filename="{name}"\r\n'
    body = f"{head}content-type: {kind}\r\n\r\n".encode() + content + b"\r\n--q--\r\n"
    headers = [("content-type", "multipart/form-data; boundary=q")]
    reading = read_request(body, path="/v1/files", headers=headers)
    assert reading.unscanned == ((f"{reason} at /file",) if reason else ())


@pytest.mark.parametrize(
    ("kind", "reason"), [("text/csv", "undecodable_text"), ("application/pdf", "document_media")]
)
def test_a_file_in_json(kind: str, reason: str) -> None:
    """By the type of its data URL."""
    data = f"data:{kind};base64,{base64.b64encode(CSV.encode('latin-1')).decode()}"
    part = {"type": "file", "file": {"filename": "a", "file_data": data}}
    body = json.dumps({"messages": [{"role": "user", "content": [part]}]}).encode()
    reading = read_request(body, path="/v1/chat/completions", headers=[])
    assert reading.unscanned == (f"{reason} at /messages/0/content/0/file/file_data",)


@pytest.mark.parametrize(
    ("kind", "reason"), [("text/csv", "undecodable_text"), ("application/pdf", "binary_body")]
)
def test_a_body_of_its_own(kind: str, reason: str) -> None:
    """By its content type."""
    headers = [("content-type", kind)]
    reading = read_request(CSV.encode("latin-1"), path="/v1/ask", headers=headers)
    assert reading.unscanned == (f"{reason} at ",)
