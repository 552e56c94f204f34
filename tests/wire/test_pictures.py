"""Pictures and sounds in base64: noted where formats put them, and never scored as text."""

from __future__ import annotations

import base64
import json

import pytest

from bertguard.wire.request import read_request

PICTURE = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40).decode()
BODIES = {
    "Ollama": ("/api/chat", {"messages": [{"role": "user", "images": [PICTURE]}]}),
    "Ollama, a tool": ("/api/chat", {"messages": [{"role": "tool", "images": [PICTURE]}]}),
    "Cohere": ("/v2/embed", {"images": ["data:image/png;base64," + PICTURE]}),
    "Imagen": (
        "/v1/models/imagen:predict",
        {"instances": [{"image": {"bytesBase64Encoded": PICTURE, "mimeType": "image/png"}}]},
    ),
    "Mistral": (
        "/v1/chat/completions",
        {
            "messages": [
                {"role": "user", "content": [{"type": "input_audio", "input_audio": PICTURE}]}
            ]
        },
    ),
    "edits": ("/v1/images/edits", {"images": [{"image_url": "data:image/png;base64," + PICTURE}]}),
    "llama.cpp": (
        "/completion",
        {"prompt": {"prompt_string": "What is it?", "multimodal_data": [PICTURE]}},
    ),
    "SGLang": ("/generate", {"text": "What is it?", "image_data": PICTURE}),
    "Realtime": ("/v1/realtime", {"type": "input_audio_buffer.append", "audio": PICTURE}),
}


@pytest.mark.parametrize(("path", "body"), BODIES.values(), ids=BODIES)
def test_a_picture_is_noted_and_not_scored(path: str, body: object) -> None:
    """As text it would be some hundred windows of noise."""
    headers = [("content-type", "application/json")]
    reading = read_request(json.dumps(body).encode(), path=path, headers=headers)
    assert not reading.unscanned
    assert any(note.split(" at ")[0] in ("image", "audio", "media") for note in reading.notes)
    assert not any(PICTURE[:64] in segment.text for segment in reading.segments)
