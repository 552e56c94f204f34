"""Where an indirect injection hides: the shapes of text that an agent reads.

A carrier turns a benign document into a text with one place for a foreign sentence. Whatever is
put there, hostile or harmless, stands in the very same surroundings, so that no shape is a sign.

Source of the kinds: Greshake et al. 2023, https://arxiv.org/abs/2302.12173 (indirect injection);
BIPIA (Yi et al. 2023, https://arxiv.org/abs/2312.14197) for positions.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from random import Random

from bertguard.training.augment.texts import boundaries

# Stands for the foreign sentence until it is put in; a private-use character no document needs.
HERE = "\ue000"
# The same where a notation would escape a private-use character.
_MARK = "@@here@@"

Escape = Callable[[str], str]
Carrier = Callable[[Random, str], tuple[str, Escape]]


def fill(template: str, escape: Escape, insert: str) -> tuple[str, tuple[int, int]]:
    """The text with `insert` in its place, and the character range it takes."""
    before, _, after = template.partition(HERE)
    inside = escape(insert)
    return before + inside + after, (len(before), len(before) + len(inside))


def _plain(text: str) -> str:
    return text


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _json_string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _python_string(text: str) -> str:
    return text.replace("'", "\\'").replace("\n", "\\n")


def _lines(context: str) -> list[str]:
    return [line for line in context.splitlines() if line.strip()] or [context]


def prose(rng: Random, context: str) -> tuple[str, Escape]:
    """Between two sentences or paragraphs, or at either end."""
    places = boundaries(context)
    place = rng.choice([places[0], places[-1], rng.choice(places), rng.choice(places)])
    before, after = context[:place].rstrip(" "), context[place:].lstrip(" ")
    gap = rng.choice([" ", " ", "\n", "\n\n"])
    left = gap if before and not before.endswith("\n") else ""
    right = gap if after and not after.startswith("\n") else ""
    return f"{before}{left}{HERE}{right}{after}", _plain


def markdown(rng: Random, context: str) -> tuple[str, Escape]:
    """A bullet, a quotation, a heading, a comment, a fence or a link title."""
    shape = rng.choice(
        [
            f"- {HERE}",
            f"> {HERE}",
            f"## {HERE}",
            f"**Note:** {HERE}",
            f"<!-- {HERE} -->",
            f"```\n{HERE}\n```",
            f'[details](https://example.com/{rng.randint(1, 999)} "{HERE}")',
            f"![{HERE}](images/figure-{rng.randint(1, 20)}.png)",
            f"[//]: # ({HERE})",
        ]
    )
    return _between_lines(rng, context, shape), _one_line


def page(rng: Random, context: str) -> tuple[str, Escape]:
    """HTML: a visible paragraph, a comment, an attribute or an element that is not shown."""
    shape = rng.choice(
        [
            f"<p>{HERE}</p>",
            f"<!-- {HERE} -->",
            f'<img src="/static/{rng.randint(1, 99)}.png" alt="{HERE}">',
            f'<div style="display:none">{HERE}</div>',
            f'<span style="font-size:0;color:#fff">{HERE}</span>',
            f'<meta name="description" content="{HERE}">',
            f'<a href="/about" title="{HERE}">About us</a>',
            f'<p aria-hidden="true" class="sr-only">{HERE}</p>',
            f"<td>{HERE}</td>",
        ]
    )
    body = [
        line if line.lstrip().startswith("<") else f"<p>{html.escape(line, quote=False)}</p>"
        for line in _lines(context)
    ]
    body.insert(rng.randint(0, len(body)), shape)
    text = "\n".join(body)
    if rng.random() < 0.4:
        text = f"<html><body>\n{text}\n</body></html>"
    return text, lambda insert: html.escape(insert, quote=True)


_FIELDS = ("content", "text", "description", "body", "comment", "notes", "summary", "message")
_RESULTS = ("result", "output", "data", "observation", "response", "item", "record")


def json_record(rng: Random, context: str) -> tuple[str, Escape]:
    """A JSON object as tools return it; in a field of its own or at the end of another."""
    field = rng.choice(_FIELDS)
    record: dict[str, object] = {"id": rng.randint(1, 99999)}
    if rng.random() < 0.5:
        other = rng.choice([name for name in _FIELDS if name != field])
        record |= {field: context, other: HERE}
    else:
        record[field] = prose(rng, context)[0]
    if rng.random() < 0.5:
        record |= {"created_at": _date(rng), "status": rng.choice(["ok", "open", "success"])}
    document: object = {rng.choice(_RESULTS): record} if rng.random() < 0.5 else record
    indent = rng.choice([None, 2])
    return json.dumps(document, ensure_ascii=False, indent=indent), _json_string


def records(rng: Random, context: str) -> tuple[str, Escape]:
    """Records as a tool lists them: JSON, Python's own notation or YAML; one is foreign."""
    lines = [_one_line(line)[:160] for line in _lines(context)]
    field = rng.choice(_FIELDS)
    name = rng.choice(("author", "sender", "name", "from", "user"))
    items: list[dict[str, object]] = [
        {"id": rng.randint(1, 999), name: rng.choice(_NAMES), field: line}
        for line in rng.sample(lines, min(len(lines), rng.randint(1, 3)))
    ]
    place = rng.randrange(len(items))
    kept = f"{items[place][field]} {_MARK}" if rng.random() < 0.4 else _MARK
    items[place] = {**items[place], field: kept, "date": _date(rng)}
    draw = rng.random()
    escape: Escape = _one_line
    if draw < 0.4:
        escape = _json_string
        text = json.dumps({_RESULTS[0]: items}, ensure_ascii=False, indent=rng.choice([None, 2]))
    elif draw < 0.7:
        # As Python prints it, which is how many agents hand on what a tool returned.
        escape = _python_string
        text = str(items if rng.random() < 0.5 else {rng.choice(_RESULTS): items[place]})
    else:
        text = "\n".join(
            "\n".join(
                f"{'- ' if number == 0 else '  '}{key}: {value}"
                for number, (key, value) in enumerate(item.items())
            )
            for item in items
        )
    return text.replace(_MARK, HERE), escape


def yaml_record(rng: Random, context: str) -> tuple[str, Escape]:
    """YAML: a scalar, a block or a comment."""
    lines = _lines(context)
    block = "\n".join(f"  {line}" for line in lines)
    shape = rng.choice(
        [f"note: {HERE}", f"# {HERE}", f"description: >\n  {HERE}", f'title: "{HERE}"']
    )
    parts = [f"id: {rng.randint(1, 9999)}", f"{rng.choice(_FIELDS)}: |\n{block}", shape]
    rng.shuffle(parts)
    return "\n".join(parts), _one_line


def table(rng: Random, context: str) -> tuple[str, Escape]:
    """Cells separated by commas, tabs or bars; one of them is foreign."""
    separator = rng.choice([",", "\t", " | ", ";"])
    cells = [_one_line(line)[:80] for line in _lines(context)][:12]
    rows = [f"{number}{separator}{cell}" for number, cell in enumerate(cells, start=1)]
    rows.insert(rng.randint(0, len(rows)), f"{rng.randint(1, 99)}{separator}{HERE}")
    heading = separator.join(["id", rng.choice(_FIELDS)])
    return "\n".join([heading, *rows]), _one_line


def code(rng: Random, context: str) -> tuple[str, Escape]:
    """A comment, a docstring or a string in source code."""
    shape = rng.choice(
        [
            f"# {HERE}",
            f"// {HERE}",
            f"/* {HERE} */",
            f'"""{HERE}"""',
            f"-- {HERE}",
            f"# TODO: {HERE}",
        ]
    )
    return _between_lines(rng, context, shape), _one_line


def log(rng: Random, context: str) -> tuple[str, Escape]:
    """A line of a log among others."""
    lines = [_log_line(rng, _one_line(line)[:160]) for line in _lines(context)[:12]]
    lines.insert(rng.randint(0, len(lines)), _log_line(rng, HERE))
    return "\n".join(lines), _one_line


def mail(rng: Random, context: str) -> tuple[str, Escape]:
    """An e-mail: in the body, the signature, the subject or a quoted reply."""
    name, other = rng.sample(_NAMES, 2)
    subject = HERE if rng.random() < 0.15 else f"Re: {_one_line(context)[:40]}"
    head = f"From: {name.lower()}@example.com\nTo: {other.lower()}@example.org\nSubject: {subject}"
    if subject == HERE:
        body = context
    elif rng.random() < 0.3:
        body = f"{context}\n\nOn {_date(rng)}, {other} wrote:\n> {HERE}"
    elif rng.random() < 0.3:
        body = f"{context}\n\n--\n{name}\n{HERE}"
    else:
        body = prose(rng, context)[0]
    return (
        f"{head}\n\nHi {other},\n\n{body}\n\n{rng.choice(['Thanks', 'Best', 'Regards'])},\n{name}",
        (_one_line),
    )


def transcript(rng: Random, context: str) -> tuple[str, Escape]:
    """A turn of a conversation or a comment of a thread."""
    names = rng.sample(_NAMES, 3)
    turns = [f"{rng.choice(names)}: {_one_line(line)}" for line in _lines(context)[:10]]
    turns.insert(rng.randint(0, len(turns)), f"{rng.choice(names)}: {HERE}")
    return "\n".join(turns), _one_line


def search_result(rng: Random, context: str) -> tuple[str, Escape]:
    """A list of snippets; one of them is foreign, or ends so."""
    snippets = [_one_line(line)[:200] for line in _lines(context)[:5]]
    place = rng.randrange(len(snippets))
    foreign = f"{snippets[place][:120]} {HERE}" if rng.random() < 0.6 else HERE
    snippets.insert(place, foreign)
    return "\n\n".join(
        f"[{number}] https://www.example.{rng.choice(_DOMAINS)}/{rng.randint(10, 9999)}\n{snippet}"
        for number, snippet in enumerate(snippets, start=1)
    ), _one_line


def tool_result(rng: Random, context: str) -> tuple[str, Escape]:
    """A tool's answer in words: a review, a note, a calendar entry, a file."""
    head = rng.choice(
        [
            "Tool output:\n",
            "Observation: ",
            "Review by a customer: ",
            f"File notes-{rng.randint(1, 99)}.txt:\n",
            f"Event on {_date(rng)}: ",
            "Search returned 1 document.\n",
            "",
        ]
    )
    return head + prose(rng, context)[0], _plain


_DOMAINS = ("com", "org", "net")
_NAMES = ("Anna", "Ben", "Chen", "Dina", "Elif", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Kofi")


def _date(rng: Random) -> str:
    return f"{rng.randint(2019, 2026)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"


def _log_line(rng: Random, message: str) -> str:
    clock = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}"
    return f"{_date(rng)} {clock} {rng.choice(['INFO', 'WARN', 'DEBUG', 'ERROR'])} {message}"


def _between_lines(rng: Random, context: str, shape: str) -> str:
    lines = context.splitlines() or [context]
    lines.insert(rng.randint(0, len(lines)), shape)
    return "\n".join(lines)


# Prose twice: most documents are prose.
CARRIERS: tuple[Carrier, ...] = (
    prose, prose, prose, markdown, page, json_record, yaml_record, table, code, log, mail,
    transcript, search_result, tool_result, tool_result, records, records,
)  # fmt: skip
