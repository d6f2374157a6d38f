from __future__ import annotations

import json
from pathlib import Path

import pytest

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.checkpoint.vocabulary import base_texts, beyond, declared_tokens


def written(folder: Path, **files: object) -> Path:
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_tokens_come_from_all_the_files_that_declare_any(tmp_path: Path) -> None:
    folder = written(
        tmp_path,
        tokenizer={"model": {"vocab": {"a": 0, "b": 7}}, "added_tokens": [{"id": 9, "content": "<s>"}]},
        tokenizer_config={"added_tokens_decoder": {"11": {"content": "<t>"}}},
        added_tokens={"<u>": 12},
    )
    assert declared_tokens(folder) == {0: "a", 7: "b", 9: "<s>", 11: "<t>", 12: "<u>"}
    assert base_texts(folder) == {"a", "b"}


@pytest.mark.parametrize(
    ("files", "tokens"),
    [
        ({}, {}),
        ({"tokenizer": {"model": None}}, {}),
        ({"tokenizer": {"model": {"type": "Unigram", "vocab": [["<pad>", 0.0], ["▁a", -1.5]]}}}, {0: "<pad>", 1: "▁a"}),
        ({"vocab": {"a": 0, "b": 1}}, {0: "a", 1: "b"}),
        ({"tokenizer": {"model": {"vocab": {"a": 0}}}, "vocab": {"other": 5}}, {0: "a"}),
        ({"tokenizer": {"added_tokens": ["odd", {"id": 3}, {"id": 4, "content": "x"}]}}, {4: "x"}),
    ],
)
def test_forms_of_tokenizers(tmp_path: Path, files: dict[str, object], tokens: dict[int, str]) -> None:
    assert declared_tokens(written(tmp_path, **files)) == tokens


@pytest.mark.parametrize("number", [-1, 1.5, True, None, "x", "²", 2**31, "9" * 400, [1]])
def test_an_id_that_is_none_is_named(tmp_path: Path, number: object) -> None:
    with pytest.raises(BadInput, match=r"gives the token 'a' the invalid id"):
        declared_tokens(written(tmp_path, tokenizer={"model": {"vocab": {"a": number}}}))


def test_a_token_of_control_characters_is_shown_as_text() -> None:
    assert beyond({0: "a", 1: "\x1b[2J"}, 1).endswith(r"rows: '\x1b[2J' (1) has no row")
