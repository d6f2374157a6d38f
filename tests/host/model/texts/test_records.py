from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.texts import records
from smoothdroid.host.model.texts.records import first_records, plain_text, read_jsonl

TALK: list[dict[str, Any]] = [
    {"role": "user", "content": "안녕?"},
    {"role": "assistant", "content": [{"type": "text", "text": "네."}]},
]


def jsonl(folder: Path, rows: Sequence[object]) -> Path:
    file = folder / "mine.jsonl"
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return file


def test_messages_are_read_where_no_field_is_named(tmp_path: Path) -> None:
    file = jsonl(tmp_path, [{"messages": TALK, "text": "x"}, "", {"messages": TALK[:1]}])
    assert list(read_jsonl(file, None)) == [TALK, TALK[:1]]
    assert plain_text(TALK) == "안녕?\n\n네."


def test_a_named_field_is_read(tmp_path: Path) -> None:
    file = jsonl(tmp_path, [{"text": "one"}, {"text": None}, {"text": TALK}])
    assert first_records(file, read_jsonl(file, "text")) == ["one", TALK]


@pytest.mark.parametrize(
    ("row", "field", "says"),
    [
        ("{'a': 1}", None, "line 2: not JSON"),
        ("[1]", None, "line 2: not a JSON object"),
        ("[" * 10_000, None, "line 2: not JSON"),
        ({"text": "x"}, None, r"line 2: no field 'messages'; its fields are text\. Name the field .* FILE:text"),
        ({}, "text", "line 2: no field 'text'; its fields are none"),
        ({"text": 5}, "text", "line 2: the field 'text' is neither a text nor a list of messages"),
        ({"messages": ["x"]}, None, "line 2: the field 'messages' is neither"),
        ({"messages": [{"from": "human", "value": "x"}]}, None, "line 2: .*each with a role and a content"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, row: object, field: str | None, says: str) -> None:
    file = jsonl(tmp_path, [{"messages": TALK, "text": "x"}, row])
    with pytest.raises(BadInput, match=rf"mine\.jsonl: {says}"):
        list(read_jsonl(file, field))


def test_a_file_that_is_not_utf_8_or_missing(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    with pytest.raises(BadInput, match="cannot be read: No such file"):
        list(read_jsonl(file, None))
    file.write_bytes(b'{"text": "caf\xe9"}')
    with pytest.raises(BadInput, match="line 1: not UTF-8"):
        list(read_jsonl(file, "text"))


def test_records_without_any_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"mine\.jsonl: the text is empty"):
        first_records(tmp_path / "mine.jsonl", ["", " \n", [{"role": "user", "content": ""}]])


def test_no_more_is_read_than_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_CHARACTERS", 100)
    file = jsonl(tmp_path, [{"text": "x" * 60}] * 3)
    assert len(first_records(file, read_jsonl(file, "text"))) == 2
    file = jsonl(tmp_path, [{"text": "x" * 100}])
    with pytest.raises(BadInput, match="line 1 has more than 100 bytes"):
        list(read_jsonl(file, "text"))
