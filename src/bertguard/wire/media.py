"""Parts that are no text: known images and sounds are noted, documents are read or unscanned."""

from __future__ import annotations

import base64
import binascii
import re

from bertguard.segments import Channel, Role
from bertguard.wire.collector import Collector, Link, Voice, word

_MEDIA_TYPE_KEYS = ("media_type", "mime_type", "mimeType", "mediaType")
_PAYLOAD_KEYS = (
    "data",
    "bytes",
    "file_data",
    "blob",
    "base64",
    "raw",
    "image_url",
    "url",
    "uri",
    "fileUri",
    "file_uri",
    "file_url",
    "document_url",
)
_ADDRESS_KEYS = ("url", "uri", "image_url")
_SHOWN = ("image/", "audio/", "video/")
# Parts and keys that hold a document, so that an address in them is fetched whatever its kind.
_DOCUMENTS = frozenset({"document", "file", "input_file"})
_PICTURES = frozenset({"image", "image_url", "input_image", "input_audio", "audio", "video",
                       "video_url", "input_video"})  # fmt: skip
# Parts that hand the file of this id to the model; elsewhere an id only names one.
FILES = frozenset(
    {"file", "input_file", "document", "container_upload", "file_search", "tool_file"}
)
# Bedrock names a document's kind by its format.
_TEXT_FORMATS = frozenset({"txt", "md", "csv", "html"})
_FILE_FORMATS = frozenset({"pdf", "doc", "docx", "xls", "xlsx"})
_PICTURE_FORMATS = frozenset({"png", "jpeg", "gif", "webp"})
_LEAST_PAYLOAD = 64
_HEADS = (
    (b"\x89PNG\r\n\x1a\n", "image"), (b"\xff\xd8\xff", "image"), (b"GIF8", "image"),
    (b"BM", "image"), (b"II*\0", "image"), (b"MM\0*", "image"), (b"ID3", "audio"),
    (b"\xff\xfb", "audio"), (b"\xff\xf3", "audio"), (b"\xff\xf2", "audio"),
    (b"\xff\xf1", "audio"), (b"\xff\xf9", "audio"), (b"OggS", "audio"), (b"fLaC", "audio"),
    (b"#!AMR", "audio"), (b"\x1aE\xdf\xa3", "video"),
)  # fmt: skip
# PDF, ZIP (and the office formats that are one), the older office formats.
_DOCUMENT_HEADS = (b"%PDF-", b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
_NO_BASE64 = re.compile(r"[^A-Za-z0-9+/]+")


def read_media(
    c: Collector,
    part: dict[str, object],
    voice: Voice,
    link: Link,
    *,
    kind: str = "",
    fetched: bool = False,
    listed: bool = False,
) -> None:
    """Deal with the encoded payloads of one part; what is left of it is swept as text.

    `voice` says what can be read of them; `kind` is the media type that the holder names. An
    address is `fetched` where the holder is a document; in what a tool has `listed` it is a word.
    """
    kinds = [v for k in _MEDIA_TYPE_KEYS if isinstance(v := part.get(k), str)] or [kind]
    # Where two are told, readers differ in which counts: the one that has more in it.
    kind = next((v for v in kinds if not v.lower().startswith(_SHOWN)), kinds[0])
    written = word(part, "format")
    if written in _TEXT_FORMATS:
        kind = "text/plain"
    elif written in _FILE_FORMATS:
        kind = f"application/{written}"
    elif written in _PICTURE_FORMATS and not kind:
        kind = f"image/{written}"
    name = word(part, "type")
    fetched = not listed and (fetched or _holds_document(part))
    if name in _PICTURES:
        c.note("image" if "image" in name else "media", link)
        kind = kind or ("image/" if "image" in name else "audio/")
    for key in _PAYLOAD_KEYS:
        value = part.get(key)
        if isinstance(value, str):
            _payload(
                c, part, key, value, kind=kind.lower(), voice=voice, link=link, fetched=fetched
            )
    for key in ("source", "image_url", "inlineData", "inline_data", "fileData", "file_data",
                "s3Location", "input_audio", "audio", "image", "video", "file"):  # fmt: skip
        value = part.get(key)
        if isinstance(value, dict):
            shown = f"{key}/" if key in ("image", "audio", "video") else ""
            inner = fetched or (key == "file" and not listed)
            read_media(c, value, voice, (link, key), kind=kind or shown, fetched=inner)
    file_id = part.get("file_id") or part.get("fileId")
    if isinstance(file_id, str) and (name in FILES or not (name or voice.role is Role.TOOL)):
        c.unscan("unseen_file", (link, "file_id"))


def _holds_document(part: dict[str, object]) -> bool:
    """Whether a part is a document by its own word: a name of a file beside an address is one."""
    if word(part, "type") in _DOCUMENTS or word(part, "kind") in _DOCUMENTS:
        return True
    return isinstance(part.get("filename"), str) and word(part, "type") not in _PICTURES


def take_opaque(c: Collector, part: dict[str, object], key: str, link: Link) -> None:
    """Bytes of the provider's own (a signature, hidden reasoning, a picture): noted, not scored."""
    value = part.get(key)
    if isinstance(value, str) and len(value) >= _LEAST_PAYLOAD:
        raw = _decoded(value)
        if raw is not None and not _is_text(raw) and c.mark(part, key):
            c.note("opaque", (link, key))


def _payload(
    c: Collector,
    part: dict[str, object],
    key: str,
    value: str,
    *,
    kind: str,
    voice: Voice,
    link: Link,
    fetched: bool,
) -> None:
    if key in c.read.get(id(part), ()) or word(part, "type") == "text":
        return  # dealt with already, or plain text by its own word
    place: Link = (link, key)
    encoded = value = value.lstrip()
    if value[:5].lower() == "data:":
        head, _, encoded = value[5:].partition(",")
        kind = head.split(";")[0].strip().lower() or "text/plain"
        if ";base64" not in head.lower().replace(" ", ""):
            return  # its text stands there plainly; the sweep reads it
    elif "://" in value[:12]:
        # An address beside the text itself only names it (MCP resources), and one of a page or
        # a link without any kind is text like any other.
        named = any(isinstance(part.get(inline), str) for inline in ("text", "blob", "data"))
        always = word(part, "type") == "url" or key not in _ADDRESS_KEYS
        always = always or value[:5].lower() in ("s3://", "gs://")
        if (always or ((kind or fetched) and not named)) and not kind.startswith(_SHOWN):
            c.unscan("unseen_document", place)
        return
    elif key in _ADDRESS_KEYS:
        return
    if kind.startswith(_SHOWN):
        # Only what cannot be read as text is taken out of the sweep: a sentence stays in it.
        raw = _decoded(encoded)
        if raw is not None and not _is_text(raw):
            c.mark(part, key)
            c.note(kind.split("/")[0], place)
        elif raw is not None:
            c.say(raw.decode("utf-8"), voice, place)
        return
    if len(encoded) < _LEAST_PAYLOAD and not kind:
        return
    raw = _decoded(encoded)
    if raw is None and kind.startswith("text/"):
        raw = _leniently_decoded(encoded)
        if raw is None or not _is_text(raw):
            return  # its text stands there plainly
    if raw is None:
        # Most decoders pass over what is no base64; the string itself is left to the sweep.
        if kind and _leniently_decoded(encoded) is not None:
            c.unscan("document_media", place)
        return
    if _is_text(raw):
        # Also left to the sweep: what decodes by chance may be meant as it stands.
        c.say(raw.decode("utf-8"), voice, place)
    else:
        c.mark(part, key)
        c.unscan("document_media" if kind else "unknown_media", place)


def read_encoded(c: Collector, text: str, voice: Voice, link: Link) -> None:
    """A string where no format promises a file: an application may decode it all the same.

    Text is said as well, since no view decodes more than a few KB of it.
    """
    if text[:5].lower() == "data:":
        text = text.partition(",")[2]
    if len(text) < _LEAST_PAYLOAD:
        return
    raw = _decoded(text)
    if raw is None:
        return
    if raw.startswith(_DOCUMENT_HEADS):
        c.unscan("unknown_media", link, voice)
    elif _is_text(raw):
        c.say(raw.decode("utf-8"), voice._replace(channel=Channel.DATA), link)


def _decoded(text: str) -> bytes | None:
    """The bytes of base64, standard or URL-safe, or None; words with spaces are no base64."""
    if " " in text.strip():
        return None
    squeezed = "".join(text.split()).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(squeezed + "=" * (-len(squeezed) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _leniently_decoded(text: str) -> bytes | None:
    """As Python's, PHP's and Node's decoders do by default: other characters are passed over."""
    kept = _NO_BASE64.sub("", text.replace("-", "+").replace("_", "/"))
    try:
        return base64.b64decode(kept + "=" * (-len(kept) % 4))
    except (binascii.Error, ValueError):
        return None


def sniffed(raw: bytes) -> str:
    """`image`, `audio` or `video` by the first bytes; empty for anything else.

    Source: https://mimesniff.spec.whatwg.org/#matching-an-image-type-pattern and the next section.
    """
    if raw[4:8] == b"ftyp":
        return "image" if raw[8:12] in (b"avif", b"heic", b"mif1") else "video"
    if raw[:4] == b"RIFF":
        return {b"WEBP": "image", b"WAVE": "audio", b"AVI ": "video"}.get(raw[8:12], "")
    return next((kind for head, kind in _HEADS if raw.startswith(head)), "")


def _is_text(raw: bytes) -> bool:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    if "".join(text.split()).isprintable():
        return True  # nearly always, and without a look at every single character
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
