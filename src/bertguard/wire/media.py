"""Parts that are no text: known images and sounds are noted, documents are read or unscanned."""

from __future__ import annotations

import base64
import binascii

from bertguard.wire.collector import Collector, Link, Voice, word

_MEDIA_TYPE_KEYS = ("media_type", "mime_type", "mimeType", "mediaType")
_PAYLOAD_KEYS = (
    "data",
    "bytes",
    "file_data",
    "blob",
    "image_url",
    "url",
    "uri",
    "fileUri",
    "file_uri",
    "document_url",
)
_SHOWN = ("image/", "audio/", "video/")
_PICTURES = frozenset({"image", "image_url", "input_image", "input_audio", "audio", "video",
                       "video_url", "input_video"})  # fmt: skip
# Bedrock names a document's kind by its format.
_TEXT_FORMATS = frozenset({"txt", "md", "csv", "html"})
_LEAST_PAYLOAD = 64


def read_media(
    c: Collector, part: dict[str, object], voice: Voice, link: Link, *, kind: str = ""
) -> None:
    """Deal with the encoded payloads of one part; what is left of it is swept as text.

    `voice` says what can be read of them; `kind` is the media type that the holder names.
    """
    kind = next((v for k in _MEDIA_TYPE_KEYS if isinstance(v := part.get(k), str)), kind)
    if word(part, "format") in _TEXT_FORMATS:
        kind = "text/plain"
    name = word(part, "type")
    if name in _PICTURES:
        c.note("image" if "image" in name else "media", link)
        kind = kind or ("image/" if "image" in name else "audio/")
    for key in _PAYLOAD_KEYS:
        value = part.get(key)
        if isinstance(value, str):
            _payload(c, part, key, value, kind=kind.lower(), voice=voice, link=link)
    for key in ("source", "image_url", "inlineData", "inline_data", "fileData", "file_data",
                "input_audio", "audio", "image", "video", "file"):  # fmt: skip
        value = part.get(key)
        if isinstance(value, dict):
            read_media(c, value, voice, (link, key), kind=kind)
    file_id = part.get("file_id") or part.get("fileId")
    if isinstance(file_id, str):
        c.unscan("unseen_file", (link, "file_id"))


def _payload(
    c: Collector,
    part: dict[str, object],
    key: str,
    value: str,
    *,
    kind: str,
    voice: Voice,
    link: Link,
) -> None:
    if key in c.read.get(id(part), ()) or word(part, "type") == "text":
        return  # dealt with already, or plain text by its own word
    place: Link = (link, key)
    encoded = value
    if value[:5].lower() == "data:":
        head, _, encoded = value[5:].partition(",")
        kind = head.split(";")[0].strip().lower() or "text/plain"
        if ";base64" not in head.lower().replace(" ", ""):
            return  # its text stands there plainly; the sweep reads it
    elif "://" in value[:12]:
        # An address beside the text itself only names it (MCP resources).
        named = any(isinstance(part.get(inline), str) for inline in ("text", "blob", "data"))
        by_address = word(part, "type") == "url" or key == "document_url"
        if by_address or (kind.startswith(("application/", "text/")) and not named):
            c.unscan("unseen_document", place)
        return
    elif key in ("url", "uri", "image_url"):
        return
    if kind.startswith(_SHOWN):
        # Only what cannot be read as text is taken out of the sweep: a sentence stays in it.
        raw = _decoded(encoded)
        if raw is not None and not _is_text(raw):
            c.mark(part, key)
            c.note(kind.split("/")[0], place)
        return
    if len(encoded) < _LEAST_PAYLOAD and not kind:
        return
    raw = _decoded(encoded)
    if raw is None:
        return
    if _is_text(raw):
        # Also left to the sweep: what decodes by chance may be meant as it stands.
        c.say(raw.decode("utf-8"), voice, place)
    elif kind.startswith(("application/", "text/")) or not kind:
        c.mark(part, key)
        c.unscan("document_media" if kind else "unknown_media", place)


def _decoded(text: str) -> bytes | None:
    """The bytes of base64, standard or URL-safe, or None; words with spaces are no base64."""
    if " " in text.strip():
        return None
    squeezed = "".join(text.split()).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(squeezed + "=" * (-len(squeezed) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _is_text(raw: bytes) -> bool:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return sum(c.isprintable() or c.isspace() for c in text) >= 0.95 * len(text)


def read_images(c: Collector, holder: dict[str, object], link: Link) -> None:
    """Ollama's and Cohere's `images`: base64 pictures without any type, or as data URLs."""
    images = holder.get("images")
    if not isinstance(images, list):
        return
    for number, image in enumerate(images):
        place: Link = ((link, "images"), number)
        raw = None
        if isinstance(image, str):
            raw = _decoded(image.partition(",")[2] if image[:5].lower() == "data:" else image)
        if raw is not None and not _is_text(raw):
            c.mark(images, number)
            c.note("image", place)
