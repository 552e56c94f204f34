"""What is wrong with a file is said truthfully, and never by repeating a text of it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from bertguard.errors import DataError
from bertguard.training.examples import Example, Where, read_examples


def error_of(file: Path, content: str | bytes) -> str:
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    with pytest.raises(DataError) as caught:
        read_examples([str(file)])
    return str(caught.value).removeprefix(str(file))


def test_a_condition_on_a_column_that_no_file_has_is_an_error(tmp_path: Path) -> None:
    """A slip of the keyboard must not keep every row; a file without the column is taken whole."""
    file, other = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    rows = [{"text": "a", "label": 0, "ship": True}, {"text": "b", "label": 1, "ship": False}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    other.write_text(json.dumps({"text": "c", "label": 1}) + "\n")
    kept = read_examples([str(file), str(other)], where=Where.parse("ship=true"))
    assert [row.text for row in kept] == ["a", "c"]
    with pytest.raises(DataError, match="no column 'shipp'"):
        read_examples([str(file), str(other)], where=Where.parse("shipp=true"))
    with pytest.raises(DataError, match="no row has ship=maybe"):
        read_examples([str(file)], where=Where.parse("ship=maybe"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        # A cell over three lines, a blank line, and then the bad row.
        ('text,label\n"a\nb\nc",0\n\nx,7\n', ":6: \"label\" is '7'"),
        ('text,label\nx,0\n"a\nb\nc",7\ny,0\n', ":3: \"label\" is '7'"),
        ('text,label\n"a\nb",0\nx\n', ":4: the row that begins here has 1 columns, the header"),
        ('text,label\nx,0\n"a\nb,0\nc,0\n', ":3: in the row that begins here: unexpected end"),
    ],
)
def test_a_csv_row_is_named_by_the_line_it_begins_on(
    tmp_path: Path, content: str, words: str
) -> None:
    """Cells over several lines and blank lines count as the editor counts them."""
    assert error_of(tmp_path / "rows.csv", content).startswith(words)


@pytest.mark.parametrize(
    ("content", "marks"),
    [
        ("text;label\nhello; you;0\n", "semicolons"),
        ('id;"text";"label"\n1;"a ""b""";0\n', "semicolons"),
        ("text\tlabel\nhello\t0\n", "tabs"),
    ],
)
def test_a_csv_of_other_marks_than_commas_is_named_as_that(
    tmp_path: Path, content: str, marks: str
) -> None:
    """Spreadsheets write them; what a row lacks, or quotes, would be a riddle."""
    expected = f":1: columns set apart by {marks}, expected commas"
    assert error_of(tmp_path / "rows.csv", content) == expected


def test_csv_cells_keep_their_lines(tmp_path: Path) -> None:
    """Line ends within a cell are the text's own, those of old Macs end rows as well."""
    file = tmp_path / "rows.csv"
    for end in ("\n", "\r\n", "\r"):
        file.write_bytes(f'\ufefftext,label{end}"a{end}b",1{end}'.encode())
        assert read_examples([str(file)]) == [Example(f"a{end}b", 1, "prompt", "rows")]


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("csv", b"text,label\nfine,0\ncaf\xe9,0\n"),
        ("jsonl", b'{"text": "fine", "label": 0}\n\n{"text": "caf\xe9", "label": 0}\n'),
    ],
)
def test_a_line_that_is_no_utf8_is_named(tmp_path: Path, kind: str, content: bytes) -> None:
    """The first of them, however much was read at once."""
    assert error_of(tmp_path / f"rows.{kind}", content).startswith(":3: not UTF-8 text")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("prompt,label\nhi,0\n", '"text" and "label", found prompt, label'),
        ("text,is_injection\nhi,0\n", '"text" and "label", found text, is_injection'),
        ("my secret,0\nhi,0\n", "found 2 whose names look like no names"),
        ("secret,benign\nhi,0\n", "found 2 whose names look like no names"),
    ],
)
def test_missing_columns_are_named_beside_those_there_are(
    tmp_path: Path, content: str, words: str
) -> None:
    """The first line of a file without a header is a text, and is not shown."""
    error = error_of(tmp_path / "rows.csv", content)
    assert words in error
    assert "secret" not in error


@pytest.mark.parametrize("column", ["label", "channel"])
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("hunter2", "str of 7 characters"),
        ("secret", "str of 6 characters"),
        ("4111111111111111", "str of 16 characters"),
        ("unsafe", "'unsafe'"),
        (7, "7"),
        (["secret"], "list"),
    ],
)
def test_a_bad_value_is_shown_only_where_it_can_be_no_text(
    tmp_path: Path, column: str, value: object, shown: str
) -> None:
    """Numbers and the words that people use for labels; of anything else kind and length."""
    row = {"text": "hi", "label": 0, column: value}
    assert f'"{column}" is {shown}, expected' in error_of(tmp_path / "r.jsonl", json.dumps(row))


def test_a_dataset_that_cannot_be_loaded_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first line of the library's error and of its cause, without what the cause quotes."""
    import datasets

    def fail(*_: object, **__: object) -> SimpleNamespace:
        try:
            raise ValueError(
                "could not convert string to int: 'my secret, isn't it' in row 3\nmore"
            )
        except ValueError as error:
            raise RuntimeError("An error occurred while generating the dataset\nmore") from error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(DataError) as caught:
        read_examples(["hf:owner/name"])
    assert str(caught.value) == (
        "hf:owner/name: datasets could not load it (RuntimeError: An error occurred while "
        "generating the dataset; because of ValueError: could not convert string to int: … in "
        "row 3)"
    )
