"""The calibration texts as the options of `prepare` name them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.checkpoint.folder import Checkpoint, open_checkpoint
from smoothdroid.host.model.texts.calibration import CalibrationFile, calibration_texts, parse_file
from smoothdroid.host.model.texts.prose import Prose, names_of, sha256_of_texts

MakeCheckpoint = Callable[..., Path]

TALK = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]


@pytest.fixture
def checkpoint(make_checkpoint: MakeCheckpoint) -> Checkpoint:
    folder = make_checkpoint()
    template = "{% for message in messages %}[{{ message.role }}]{{ message.content }}{% endfor %}"
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return open_checkpoint(folder)


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    file = tmp_path / "talk.jsonl"
    file.write_text("\n".join(json.dumps({"messages": TALK, "text": "plain"}) for _ in range(2)), encoding="utf-8")
    return file


def test_several_files_of_several_kinds(checkpoint: Checkpoint, talk: Path, tmp_path: Path) -> None:
    text = tmp_path / "mine.txt"
    text.write_text("one\r\ntwo", encoding="utf-8")
    texts = calibration_texts([text, talk, f"{talk}:text"], checkpoint)
    assert [(each.name, each.content) for each in texts] == [
        ("mine.txt", "one\ntwo"),
        ("talk.jsonl", "Why?\n\nBecause.\n\nWhy?\n\nBecause."),
        ("talk.jsonl:text", "plain\n\nplain"),
    ]
    rendered = "[user]Why?[assistant]Because."
    chat = calibration_texts([text, str(talk)], checkpoint, chat=True)
    assert [each.content for each in chat] == ["one\ntwo", f"{rendered}\n\n{rendered}"]


def test_one_path_is_one_file(checkpoint: Checkpoint, talk: Path) -> None:
    assert calibration_texts(talk, checkpoint) == calibration_texts([talk], checkpoint)


def test_chat_without_conversations_is_refused(checkpoint: Checkpoint, talk: Path) -> None:
    with pytest.raises(BadInput, match=r"--chat applies the chat template to conversations, and .* have none"):
        calibration_texts([f"{talk}:text"], checkpoint, chat=True)


def test_files_and_fields_are_told_apart(talk: Path, tmp_path: Path) -> None:
    assert parse_file(f"{talk}:a") == CalibrationFile(talk, "a")
    assert parse_file(f"{talk}:a").name == "talk.jsonl:a"
    odd = tmp_path / "talk.jsonl:a"
    odd.touch()
    assert parse_file(odd) == CalibrationFile(odd)
    with pytest.raises(BadInput, match="no field is named behind the colon"):
        parse_file(f"{talk}:")
    (tmp_path / "mine.txt").touch()
    with pytest.raises(BadInput, match=r"mine\.txt:a: only JSONL .* have fields"):
        parse_file(f"{tmp_path / 'mine.txt'}:a")


def test_a_file_that_is_not_there_is_named_as_it_was_typed(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.jsonl:a: the text cannot be read"):
        calibration_texts([f"{tmp_path}/none.jsonl:a"], checkpoint)


def test_texts_are_identified_by_all_of_them() -> None:
    one, two = Prose("a", "1"), Prose("b", "2")
    assert names_of([one, two]) == "a, b"
    assert sha256_of_texts([one]) == one.sha256
    assert len({sha256_of_texts(texts) for texts in ([one], [two], [one, two], [two, one])}) == 4
