"""A label means what its dataset says that it means, and a column is there once."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bertguard.errors import DataError
from bertguard.training.examples import read_examples


def classes(names: list[str], labels: list[int], **more: list[int]) -> datasets.Dataset:
    features = {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)}
    if more:
        features["channel"] = datasets.ClassLabel(names=["data", "prompt"])
    return datasets.Dataset.from_dict(
        {"text": [f"text {n}" for n in range(len(labels))], "label": labels, **more},
        features=datasets.Features(features),
    )


def places(rows: datasets.Dataset, directory: Path) -> list[str]:
    """One dataset as a Parquet file, a folder of such files, and saved to the disk both ways."""
    (directory / "folder").mkdir()
    for file in (directory / "rows.parquet", directory / "folder" / "train-0.parquet"):
        rows.to_parquet(file)
    datasets.DatasetDict({"train": rows}).save_to_disk(directory / "saved")
    rows.save_to_disk(directory / "one")
    return [
        str(directory / "rows.parquet"),
        *(f"hf:{directory / name}" for name in ("folder", "saved", "one")),
    ]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["jailbreak", "benign"], [1, 0, 0]),
        (["Benign", "INJECTION"], [0, 1, 1]),
        (["1", "0"], [1, 0, 0]),
    ],
)
def test_a_number_of_a_class_means_its_name(
    tmp_path: Path, names: list[str], expected: list[int]
) -> None:
    """Which class comes first is the dataset's own choice: 0 may well be the attack."""
    for place in places(classes(names, [0, 1, 1], channel=[0, 1, 1]), tmp_path):
        found = read_examples([place])
        assert [row.label for row in found] == expected
        assert [row.channel for row in found] == ["data", "prompt", "prompt"]


def test_classes_of_other_names_are_an_error_that_lists_them(tmp_path: Path) -> None:
    """Neither their names nor their numbers say which of them is the attack."""
    for place in places(classes(["benign", "hate", "spam"], [0, 1, 2]), tmp_path):
        with pytest.raises(DataError) as caught:
            read_examples([place])
        assert str(caught.value).startswith(f'{place}: the classes of "label"')
        assert "not known: 'hate', 'spam';" in str(caught.value)


def test_a_class_that_is_missing_is_named_by_its_row(tmp_path: Path) -> None:
    """`datasets` writes -1 where a row has no label."""
    for place in places(classes(["benign", "injection"], [0, -1]), tmp_path):
        with pytest.raises(DataError, match='2: "label" is None'):
            read_examples([place])


def test_metadata_of_other_tools_is_left_alone(tmp_path: Path) -> None:
    """A schema may hold anything under that key."""
    table = pa.table({"text": ["a"], "label": [1]})
    for number, content in enumerate((b"{", b"[]", json.dumps({"info": None}).encode())):
        file = tmp_path / f"{number}.parquet"
        pq.write_table(table.replace_schema_metadata({b"huggingface": content}), file)
        assert read_examples([str(file)])[0].label == 1


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "text,label,label\nhi,0,1\n", ":1: the column 'label' stands twice"),
        ("a.csv", "\n\ntext, label,label \nhi,0,1\n", ":3: the column 'label' stands twice"),
        ("a.csv", "my secret,my secret\nhi,0\n", ":1: the column of one name stands twice"),
        (
            "a.jsonl",
            '{"text": "a", "label": 0}\n{"text": "b", "label": 0, "label": 1}\n',
            ":2: not a JSON object (the key 'label' stands twice)",
        ),
    ],
)
def test_a_name_that_stands_twice_is_an_error(
    tmp_path: Path, name: str, content: str, words: str
) -> None:
    """The later one won, without a word."""
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError) as caught:
        read_examples([str(tmp_path / name)])
    assert str(caught.value).removeprefix(str(tmp_path / name)).startswith(words)


def test_a_parquet_column_that_stands_twice_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table([["a"], [0], [1]], names=["text", "label", "label"]), file)
    with pytest.raises(DataError, match=r"a\.parquet: the column 'label' stands twice"):
        read_examples([str(file)])


def test_columns_without_a_name_may_be_many(tmp_path: Path) -> None:
    """Spreadsheets write commas to the end of the widest row."""
    (tmp_path / "a.csv").write_text("text,label,,\nhi,1,,\n")
    assert read_examples([str(tmp_path / "a.csv")])[0].label == 1
