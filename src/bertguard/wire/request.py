"""A request -> every text in it: the door of this room."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import parse_qsl, unquote

from bertguard.errors import UnreadableError
from bertguard.wire import mcp, openai
from bertguard.wire.batch_file import batch_lines, sweep_lines
from bertguard.wire.body import field_text, read_body, shown_by
from bertguard.wire.collector import UNKNOWN, UNKNOWN_DATA, USER, Collector, Link
from bertguard.wire.dialects import EMBEDDINGS, SHAPES, Reader, by_shape, canonical_path, recognise
from bertguard.wire.forms import Field
from bertguard.wire.json_text import NOT_JSON, is_json, parse_json
from bertguard.wire.media import read_encoded, unread
from bertguard.wire.partial import is_part
from bertguard.wire.reading import Reading
from bertguard.wire.sweep import sweep
from bertguard.wire.vocabulary import IDENTIFIER_CHARS, SHORT_CHARS, is_short

_PATH_WORD = re.compile(r"[^\W\d_]{2,}")
_PATH_SLASH = re.compile("/+")
_PATH_PARTING = re.compile(r"[/_+.~-]+")
_PROSE_WORDS = 5


def read_request(
    body: bytes, *, path: str, headers: Sequence[tuple[str, str]], query: str = ""
) -> Reading:
    """Every text of one request.

    Args:
        body: its bytes, all of them.
        path: of the URL; it says which dialect is read first, and never that less is read.
        headers: as they came, repeated ones included.
        query: of the URL, without the question mark.

    Raises:
        UnreadableError: two readers could read the body differently; `reason` says why.
    """
    part = is_part(path, headers)
    found = read_body(body, headers, part=part)
    name, read = recognise(path)
    collector = Collector()
    if part and body:
        collector.unscan("partial_upload", "")
    documents = found.documents
    if name.endswith(".embeddings"):
        # In an odd spelling the path could be another one to the application's router.
        plain = canonical_path(path) == path.lower() and EMBEDDINGS.fullmatch(path)
        collector.distrust = not plain
    if name == "json":
        if len(documents) == 1:
            name, read = by_shape(documents[0])
        # A format that nobody promised: "system" in it may be only a word.
        collector.distrust = True
    for number, document in enumerate(documents):
        link: Link = ("", number) if found.lines else ""
        _document(collector, document, read, link)
    _form(collector, found.fields)
    if found.text:
        collector.say(found.text, USER, "")
        read_encoded(collector, found.text, USER, "")
    if found.shown:
        collector.note(found.shown, "")
    if found.opaque:
        collector.unscan(found.opaque, "")
    collector.say(prose_of(path), USER, ":path")
    _query(collector, query)
    if not documents:
        name = "form" if found.fields else "text" if found.text else name
    return Reading(
        name if name != "json" or documents or found.text else "empty",
        tuple(collector.segments),
        tuple(collector.unscanned),
        tuple(collector.notes),
        tuple(collector.trustable),
    )


def _document(c: Collector, document: object, read: Reader | None, link: Link) -> None:
    """One JSON value: by its dialect, by its other keys, then the sweep over what is left."""
    _by_dialect(c, document, read, link)
    sweep(c, document, link=link)


def _by_dialect(c: Collector, document: object, read: Reader | None, link: Link) -> None:
    items = document if isinstance(document, list) else [document]
    for number, item in enumerate(items):
        if not isinstance(item, dict):
            continue
        place: Link = (link, number) if isinstance(document, list) else link
        # A line of a batch file holds the request in `body`, or in `params` or `request`.
        for key in ("body", "params", "request"):
            inner = item.get(key)
            if read is not mcp.message and isinstance(inner, dict):
                _read_object(c, inner, read, (place, key))
        _read_object(c, item, read, place)
        for key in ("input_file_id", "input_files"):
            if item.get(key):  # a batch over files that were sent, and read, before
                c.note("unseen_file", (place, key))


def _read_object(c: Collector, item: dict[str, object], read: Reader | None, link: Link) -> None:
    """By its dialect, and then by the shape of what that has no use for.

    The path is the sender's choice, and an application may take a key that its path does not name.
    """
    read = read or by_shape(item)[1] or openai.chat
    read(item, c, link)
    outer, c.distrust = c.distrust, True
    for key, other, readers in SHAPES:
        if key in item and read not in readers:
            other(item, c, link)
    openai.prompt_ids(item, c, link)
    c.distrust = outer


def _named(fields: Sequence[Field]) -> list[tuple[Field, Link]]:
    """Fields with their pointers; a name that comes more than once is numbered."""
    counts: dict[str, int] = {}
    for field in fields:
        counts[field.name] = counts.get(field.name, 0) + 1
    seen: dict[str, int] = {}
    named: list[tuple[Field, Link]] = []
    for field in fields:
        place: Link = ("", field.name)
        if counts[field.name] > 1:
            place = (place, seen.get(field.name, 0))
            seen[field.name] = seen.get(field.name, 0) + 1
        named.append((field, place))
    return named


def _form(c: Collector, fields: Sequence[Field]) -> None:
    """The fields of a form, each alone, then all of their texts and all of their names together."""
    # Source: https://html.spec.whatwg.org/#attr-fe-name-charset
    charset = next((f.content.decode("latin-1") for f in fields if f.name == "_charset_"), "")
    charset = charset.strip().lower().replace("_", "-")
    alone = len(fields) == 1
    texts = [
        text
        for field, place in _named(fields)
        if (text := _field(c, field, place, charset=charset, alone=alone)) is not None
    ]
    c.join(texts, USER, "")
    names = [name for field in fields for name in (field.name, field.filename, *field.told) if name]
    sweep(c, list(dict.fromkeys(names)))


def _field(c: Collector, field: Field, place: Link, *, charset: str, alone: bool) -> str | None:
    """The value of one field, as text or JSON, or a file; returns the text of a person.

    A short one that is not alone is scored with the others only. `charset` is that of the form.
    """
    text = field_text(field.content, field.charset or charset)
    if text is None:
        shown = shown_by(field.content)
        if field.filename and shown:
            c.note(shown, place)
        elif field.filename:
            c.unscan(unread(field.content, field.kind, field.filename), place)
        else:
            c.unscan("binary_field", place)
        return None
    if field.filename:
        lines = batch_lines(text)
        if lines is None:
            c.say(text, UNKNOWN_DATA, (place, "content"))
        else:
            # Whoever wrote the file wrote its "system" turns as well.
            c.distrust = True
            _by_dialect(c, lines, None, (place, "content"))
            sweep_lines(c, lines, (place, "content"))
        return None
    if alone or not is_short(text):
        c.say(text, USER, place)
    read_encoded(c, text, USER, place)
    if text.lstrip()[:1] in ("{", "["):
        try:
            inner = parse_json(text)
        except UnreadableError as error:
            if error.reason not in NOT_JSON and is_json(text):
                raise
        else:
            sweep(c, inner, link=place)
    return text


def prose_of(path: str) -> str:
    """What a path could say to a model, since an application may route `/ask/{question}`.

    Five words and more however they are parted, white space, other scripts, or a piece so long
    that it may be encoded; empty for what a path ordinarily is.
    """
    plain = unquote(path).strip("/")
    spaced = any(map(str.isspace, plain))
    long = len(path) >= IDENTIFIER_CHARS
    long = long or any(len(piece) >= SHORT_CHARS for piece in plain.split("/"))
    words = _PATH_WORD.findall(plain)
    if len(words) < _PROSE_WORDS and not spaced and not long and plain.isascii():
        return ""
    parting = _PATH_PARTING if len(words) >= _PROSE_WORDS else _PATH_SLASH
    return parting.sub(" ", plain)


def _query(c: Collector, query: str) -> None:
    """Parameters of the URL: an application may put them into a prompt, one or all of them."""
    if not query:
        return
    values: dict[str, list[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True, errors="replace"):
        values.setdefault(name, []).append(value)
    # A name that is long, or has a white space in it, is swept like a key.
    outer, c.distrust = c.distrust, True
    given = {name: texts[0] if len(texts) == 1 else texts for name, texts in values.items()}
    sweep(c, given, link="?")
    c.distrust = outer
    texts = [text for listed in values.values() for text in listed]
    if not all(map(is_short, texts)):
        c.join(texts, UNKNOWN, "?")
