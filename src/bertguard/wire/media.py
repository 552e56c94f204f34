"""Parts that are no text: known images and sounds are noted, documents are read or unscanned."""

from __future__ import annotations

import base64
import binascii
import re

from bertguard.segments import Channel, Role
from bertguard.wire.collector import Collector, Link, Voice, word
from bertguard.wire.text_files import says_text
from bertguard.wire.vocabulary import is_identifier

_MEDIA_TYPE_KEYS = ("media_type", "mime_type", "mimeType", "mediaType")
_PAYLOAD_KEYS = (
    "data",
    "bytes",
    "bytesBase64Encoded",
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
# Keys of an object that has one of them.
_HOLDERS = ("source", "image_url", "inlineData", "inline_data", "fileData", "file_data",
            "s3Location", "input_audio", "audio", "image", "video", "file")  # fmt: skip
_FILE_IDS = ("file_id", "fileId")
_ADDRESS_KEYS = ("url", "uri", "image_url")
SHOWN = ("image/", "audio/", "video/")
_DOCUMENT = "document/"  # no media type: what a part of that type tells what is in it
# Parts and keys that hold a document, so that an address in them is fetched whatever its kind.
_DOCUMENTS = frozenset({"document", "file", "input_file"})
_PICTURES = frozenset({"image", "image_url", "input_image", "input_audio", "audio", "video",
                       "video_url", "input_video", "image_embeds", "audio_embeds",
                       "image_file"})  # fmt: skip
# Keys of such parts that hold the picture or sound itself, where others have an object.
_SHOWN_KEYS = ("input_audio", "audio", "image", "video", "image_embeds", "audio_embeds")
_KEYS = frozenset({*_PAYLOAD_KEYS, *_HOLDERS, *_FILE_IDS})
# Parts that hand the file of this id to the model; elsewhere an id only names one.
FILES = frozenset(
    {"file", "input_file", "document", "container_upload", "file_search", "tool_file"}
)
# Bedrock names a document's kind by its format.
_TEXT_FORMATS = frozenset({"txt", "md", "csv", "html"})
_FILE_FORMATS = frozenset({"pdf", "doc", "docx", "xls", "xlsx"})
_PICTURE_FORMATS = frozenset({"png", "jpeg", "gif", "webp"})
LEAST_PAYLOAD = 64
_HEADS = (
    (b"\x89PNG\r\n\x1a\n", "image"), (b"\xff\xd8\xff", "image"), (b"GIF8", "image"),
    (b"BM", "image"), (b"II*\0", "image"), (b"MM\0*", "image"), (b"ID3", "audio"),
    (b"\xff\xfb", "audio"), (b"\xff\xf3", "audio"), (b"\xff\xf2", "audio"),
    (b"\xff\xf1", "audio"), (b"\xff\xf9", "audio"), (b"OggS", "audio"), (b"fLaC", "audio"),
    (b"#!AMR", "audio"), (b"\x1aE\xdf\xa3", "video"),
)  # fmt: skip
# PDF, ZIP (and the office formats that are one), the older office formats.
DOCUMENT_HEADS = (b"%PDF-", b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
_NO_BASE64 = re.compile(r"[^A-Za-z0-9+/]+")


def read_media(
    c: Collector,
    part: dict[str, object],
    voice: Voice,
    link: Link,
    *,
    kind: str = "",
    shown: bool = False,
    fetched: bool = False,
    listed: bool = False,
) -> None:
    """Deal with the encoded payloads of one part; what is left of it is swept as text.

    `voice` says what can be read of them; `kind` is the media type that the holder names, and
    `shown` that it is a picture or a sound. An address is `fetched` where the holder is a document;
    in what a tool has `listed` it is a word.
    """
    name = word(part, "type")
    if name not in _PICTURES and _KEYS.isdisjoint(part):
        return  # nearly always a text
    kinds = [v for k in _MEDIA_TYPE_KEYS if isinstance(v := part.get(k), str)] or [kind]
    # Where two are told, readers differ in which counts: the one that has more in it.
    told = next((v for v in kinds if not v.lower().startswith(SHOWN)), kinds[0])
    # What calls itself a document is no picture, whichever kind its source names.
    document = name == "document" or _DOCUMENT in (kind, told)
    kind = "" if document and told.lower().startswith((*SHOWN, _DOCUMENT)) else told
    written = word(part, "format")
    if written in _TEXT_FORMATS:
        kind = "text/plain"
    elif written in _FILE_FORMATS:
        kind = f"application/{written}"
    elif written in _PICTURE_FORMATS and not kind:
        kind = f"image/{written}"
    fetched = not listed and (fetched or _holds_document(part))
    if name in _PICTURES:
        c.note("image" if "image" in name else "media", link)
        kind = kind or ("image/" if "image" in name else "audio/")
    shown = shown or name in _PICTURES
    kind = kind.lower()
    for key in (*_PAYLOAD_KEYS, *(_SHOWN_KEYS if name in _PICTURES else ())):
        value = part.get(key)
        if isinstance(value, str):
            _payload(c, part, key, value, kind=kind, voice=voice, link=link, fetched=fetched)
    for key in _HOLDERS:
        value = part.get(key)
        if isinstance(value, dict):
            held = f"{key}/" if key in ("image", "audio", "video") else ""
            told = kind or (_DOCUMENT if document else held)
            inner = fetched or key == "file"
            read_media(c, value, voice, (link, key), kind=told, shown=shown, fetched=inner,
                       listed=listed)  # fmt: skip
    if name in FILES or not (name or voice.role is Role.TOOL):
        _file_id(c, part, link, shown=shown and kind.startswith(SHOWN))


def _file_id(c: Collector, part: dict[str, object], link: Link, *, shown: bool) -> None:
    for key in _FILE_IDS:
        value = part.get(key)
        if not isinstance(value, str) or key in c.read.get(id(part), ()):
            continue
        if shown and is_identifier(value):
            c.mark(part, key)  # noted as a picture; the sweep does not see whose file it is
        else:
            c.unscan("unseen_file", (link, key))


def _holds_document(part: dict[str, object]) -> bool:
    """Whether a part is a document by its own word: a name of a file beside an address is one."""
    if word(part, "type") in _DOCUMENTS or word(part, "kind") in _DOCUMENTS:
        return True
    return isinstance(part.get("filename"), str) and word(part, "type") not in _PICTURES


def take_opaque(c: Collector, part: dict[str, object], key: str, link: Link) -> None:
    """Bytes of the provider's own (a signature, hidden reasoning, a picture): noted, not scored."""
    value = part.get(key)
    if isinstance(value, str) and len(value) >= LEAST_PAYLOAD:
        raw = decoded(value)
        if raw is not None and not is_text(raw) and c.mark(part, key):
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
        if (always or ((kind or fetched) and not named)) and not kind.startswith(SHOWN):
            c.unscan("unseen_document", place)
        return
    elif key in _ADDRESS_KEYS:
        return
    if kind.startswith(SHOWN):
        if key not in _SHOWN_KEYS or len(encoded) >= LEAST_PAYLOAD:
            take_shown(c, part, key, encoded, shown=kind.split("/")[0], voice=voice, link=place)
        return
    if len(encoded) < LEAST_PAYLOAD and not kind:
        return
    raw = decoded(encoded)
    if raw is None and kind.startswith("text/"):
        raw = _leniently_decoded(encoded)
        if raw is None or not is_text(raw):
            return  # its text stands there plainly
    if raw is None:
        # Most decoders pass over what is no base64; the string itself is left to the sweep.
        if kind and _leniently_decoded(encoded) is not None:
            c.unscan("document_media", place)
        return
    if is_text(raw):
        # Also left to the sweep: what decodes by chance may be meant as it stands.
        c.say(raw.decode("utf-8"), voice, place)
    else:
        c.mark(part, key)
        c.unscan(unread(raw, kind) if kind else "unknown_media", place)


def take_shown(
    c: Collector,
    holder: dict[str, object] | list[object],
    key: str | int,
    encoded: str,
    *,
    shown: str,
    voice: Voice,
    link: Link,
) -> None:
    """A picture or sound in base64 at `link`, which is noted; a document is none by its label.

    Only what cannot be read as text is taken out of the sweep: a sentence stays in it.
    """
    raw = decoded(encoded)
    if raw is None:
        return
    if is_text(raw):
        c.say(raw.decode("utf-8"), voice, link)
        return
    c.mark(holder, key)
    if raw.startswith(DOCUMENT_HEADS):
        c.unscan("document_media", link)
    else:
        c.note(shown, link)


def read_encoded(c: Collector, text: str, voice: Voice, link: Link) -> None:
    """A string where no format promises a file: an application may decode it all the same.

    Text is said as well, since no view decodes more than a few KB of it.
    """
    if text[:5].lower() == "data:":
        text = text.partition(",")[2]
    if len(text) < LEAST_PAYLOAD:
        return
    raw = decoded(text)
    if raw is None:
        return
    if raw.startswith(DOCUMENT_HEADS):
        c.unscan("unknown_media", link, voice)
    elif is_text(raw):
        c.say(raw.decode("utf-8"), voice._replace(channel=Channel.DATA), link)


def decoded(text: str) -> bytes | None:
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


def unread(raw: bytes, kind: str, name: str = "") -> str:
    """Why a file was not read: text in another encoding, or a document that holds some."""
    text = says_text(kind, name) and not raw.startswith(DOCUMENT_HEADS)
    return "undecodable_text" if text else "document_media"


def is_text(raw: bytes) -> bool:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    if "".join(text.split()).isprintable():
        return True  # nearly always, and without a look at every single character
    return sum(c.isprintable() or c.isspace() for c in text) >= 0.95 * len(text)
