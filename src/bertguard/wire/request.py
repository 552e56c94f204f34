"""A request -> every text in it: the door of this room."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from urllib.parse import parse_qsl, unquote

from bertguard.errors import UnreadableError
from bertguard.wire import anthropic, bedrock, cohere, gemini, mcp, ollama, openai
from bertguard.wire.body import plain_text, read_body, shown_by
from bertguard.wire.collector import UNKNOWN, UNKNOWN_DATA, USER, Collector, Link
from bertguard.wire.forms import Field
from bertguard.wire.json_text import NOT_JSON, is_json, parse_json, parse_lines
from bertguard.wire.reading import Reading
from bertguard.wire.sweep import sweep
from bertguard.wire.vocabulary import IDENTIFIER_CHARS, SHORT_CHARS, is_short

Reader = Callable[[dict[str, object], Collector, Link], None]

_DIALECTS: tuple[tuple[str, str, Reader], ...] = (
    ("ollama.embeddings", r"/api/embed(dings)?", ollama.embed),
    ("cohere.embeddings", r"/v[12]/embed", cohere.embed),
    ("gemini.embeddings", r"/models/[^/]+:(async)?(batch)?embedcontents?", gemini.embed),
    ("openai.embeddings", r"/(embeddings|moderations)", openai.inputs),
    ("openai.chat", r"/(chat|agents)/completions", openai.chat),
    ("openai.responses", r"/responses(/input_tokens|/compact)?", openai.responses),
    ("openai.threads", r"/threads/([^/]+/messages|runs)", openai.thread),
    ("openai.conversations", r"/conversations(/[^/]+(/items)?)?", openai.responses),
    ("anthropic.messages", r"/messages(/count_tokens)?", anthropic.messages),
    ("anthropic.messages", r"/models/[^/]+:(stream)?rawpredict", anthropic.messages),
    ("anthropic.batches", r"/messages/batches", anthropic.batches),
    ("anthropic.complete", r"/v1/complete", anthropic.complete),
    ("openai.completions", r"/completions", openai.completions),
    ("gemini.batch", r"/models/[^/]+:(async)?batch\w+", gemini.batch),
    ("gemini.generate", r"/[^/]+:\w*(generate|embed|count|predict)\w*", gemini.generate),
    ("ollama.chat", r"/api/chat", ollama.chat),
    ("ollama.generate", r"/api/generate", ollama.generate),
    ("cohere.chat", r"/v[12]/chat", cohere.chat),
    ("bedrock.converse", r"/model/.+/converse(-stream)?", bedrock.converse),
    ("bedrock.invoke", r"/model/.+/invoke(-with-response-stream)?", bedrock.invoke),
    ("mcp", r"/(mcp|sse|message)", mcp.message),
)
_PATTERNS = [(name, re.compile(f".*{pattern}"), read) for name, pattern, read in _DIALECTS]
_SLASHES = re.compile("/{2,}")
_PATH_WORD = re.compile(r"[^\W\d_]{2,}")
_PATH_SLASH = re.compile("/+")
_PATH_PARTING = re.compile(r"[/_+.~-]+")
_PROSE_WORDS = 5
_REMEMBERED_PATH_CHARS = 256
# Where texts become numbers, so that an operator may leave them unscored. An application could
# take the last word of a path for a name (`/agents/{name}`), so what stands before it counts too.
_EMBEDDINGS = re.compile(
    r"(?:/[\w.~@+-]+)*"
    r"(?:/(?:v\d\w*(?:/chat)?|openai|deployments/[\w.~-]+)/(?:embeddings|moderations)"
    r"|/api/embed(?:dings)?|/v[12]/embed|/v\d\w*/models/[\w.~-]+:\w+)",
    re.IGNORECASE | re.ASCII,
)


# By key: how it is read where the reader of the dialect (one of the last) leaves it alone.
_SHAPES: tuple[tuple[str, Reader, frozenset[Reader]], ...] = (
    ("messages", openai.chat, frozenset({openai.chat, anthropic.messages, cohere.chat, ollama.chat,
                                         bedrock.converse, bedrock.invoke})),
    ("contents", gemini.generate, frozenset({gemini.generate, gemini.batch, gemini.embed})),
    ("chat_history", cohere.chat, frozenset({cohere.chat})),
    ("message", cohere.chat, frozenset({cohere.chat})),
    ("input", openai.responses, frozenset({openai.responses, openai.inputs})),
    ("inputs", openai.responses, frozenset({openai.responses, cohere.embed})),
    ("items", openai.responses, frozenset({openai.responses})),
    ("prompt", openai.completions, frozenset({openai.completions, openai.responses, ollama.generate,
                                              bedrock.invoke, anthropic.complete})),
    ("jsonrpc", mcp.message, frozenset({mcp.message})),
    ("content", openai.thread, frozenset({openai.thread, gemini.embed, gemini.generate})),
    ("thread", openai.thread, frozenset({openai.thread})),
)  # fmt: skip


def canonical_path(path: str) -> str:
    """A path as routers see it: decoded once, without dot segments, double or final slashes.

    In lower case: it recognises a dialect, it does not route.
    """
    parts: list[str] = []
    for part in _SLASHES.sub("/", unquote(path).replace("\\", "/")).split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts).lower()


def dialect_of(path: str) -> str:
    """The name of the format that a path belongs to; `json` for any other."""
    return _recognise(path)[0]


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
    found = read_body(body, headers)
    name, read = _recognise(path)
    collector = Collector()
    documents = found.documents
    if name.endswith(".embeddings"):
        # In an odd spelling the path could be another one to the application's router.
        plain = canonical_path(path) == path.lower() and _EMBEDDINGS.fullmatch(path)
        collector.distrust = not plain
    if name == "json":
        if len(documents) == 1:
            name, read = _by_shape(documents[0])
        # A format that nobody promised: "system" in it may be only a word.
        collector.distrust = True
    for number, document in enumerate(documents):
        link: Link = ("", number) if found.lines else ""
        _document(collector, document, read, link)
    _form(collector, found.fields)
    if found.text:
        collector.say(found.text, USER, "")
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
    )


def _document(c: Collector, document: object, read: Reader | None, link: Link) -> None:
    """One JSON value: by its dialect, by its other keys, then the sweep over what is left."""
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
    sweep(c, document, link=link)


def _read_object(c: Collector, item: dict[str, object], read: Reader | None, link: Link) -> None:
    """By its dialect, and then by the shape of what that has no use for.

    The path is the sender's choice, and an application may take a key that its path does not name.
    """
    read = read or _by_shape(item)[1] or openai.chat
    read(item, c, link)
    outer, c.distrust = c.distrust, True
    for key, other, readers in _SHAPES:
        if key in item and read not in readers:
            other(item, c, link)
    c.distrust = outer


def _recognise(path: str) -> tuple[str, Reader | None]:
    """The dialect of a path; remembered for the few that a server is asked for all day."""
    return _recognised(path) if len(path) <= _REMEMBERED_PATH_CHARS else _match(path)


def _match(path: str) -> tuple[str, Reader | None]:
    canonical = canonical_path(path)
    for name, pattern, read in _PATTERNS:
        if pattern.fullmatch(canonical):
            return name, read
    return "json", None


_recognised = lru_cache(maxsize=128)(_match)


def _by_shape(document: object) -> tuple[str, Reader | None]:
    """The dialect of a document that came to an unknown path."""
    first = document[0] if isinstance(document, list) and document else document
    if not isinstance(first, dict):
        return "json", None
    if "jsonrpc" in first:
        return "mcp", mcp.message
    if "contents" in first:
        return "json", gemini.generate
    if "chat_history" in first or ("message" in first and "messages" not in first):
        return "json", cohere.chat
    if "messages" in first:
        return "json", anthropic.messages if "system" in first else openai.chat
    if "input" in first:
        return "json", openai.responses
    if "prompt" in first:
        return "json", openai.completions
    return "json", None


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
    texts = [
        text
        for field, place in _named(fields)
        if (text := _field(c, field, place, alone=len(fields) == 1)) is not None
    ]
    c.join(texts, USER, "")
    names = [name for field in fields for name in (field.name, field.filename, *field.told) if name]
    sweep(c, list(dict.fromkeys(names)))


def _field(c: Collector, field: Field, place: Link, *, alone: bool) -> str | None:
    """The value of one field, as text or JSON, or a file; returns the text of a person.

    A short one that is not alone is scored with the others only.
    """
    text = plain_text(field.content)
    if text is None:
        shown = shown_by(field.content)
        if field.filename and shown:
            c.note(shown, place)
        else:
            c.unscan("document_media" if field.filename else "binary_field", place)
        return None
    if field.filename:
        lines = _batch_lines(text)
        if lines is None:
            c.say(text, UNKNOWN_DATA, (place, "content"))
        else:
            # Whoever wrote the file wrote its "system" turns as well.
            c.distrust = True
            _document(c, lines, None, (place, "content"))
        return None
    if alone or not is_short(text):
        c.say(text, USER, place)
    if text.lstrip()[:1] in ("{", "["):
        try:
            inner = parse_json(text)
        except UnreadableError as error:
            if error.reason not in NOT_JSON and is_json(text):
                raise
        else:
            sweep(c, inner, link=place)
    return text


def _batch_lines(text: str) -> list[object] | None:
    """The requests of a batch file, one a line; None where a file is anything else.

    Source: https://platform.openai.com/docs/api-reference/batch/request-input
    """
    if not (text.lstrip().startswith("{") and '"custom_id"' in text):
        return None
    try:
        lines = parse_lines(text)
    except UnreadableError:
        return None
    for line in lines:
        if not (isinstance(line, dict) and "custom_id" in line):
            return None
        if not isinstance(line.get("body", line.get("params")), dict):
            return None
    return lines


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
