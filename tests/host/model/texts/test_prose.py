from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.texts.prose import CALIBRATION_SHARE, PARAGRAPH, calibration_prose, evaluation_prose, split


def paragraphs(text: str) -> list[str]:
    return [paragraph.strip() for paragraph in text.split(PARAGRAPH)]


def test_no_paragraph_is_in_both_parts_of_the_default_text() -> None:
    calibration, evaluation = calibration_prose(), evaluation_prose(None)
    assert set(paragraphs(calibration.content)).isdisjoint(paragraphs(evaluation.content))
    assert len(calibration.content) > 300_000
    assert len(evaluation.content) > 80_000, "40 windows of 512 tokens and more"
    assert calibration.sha256 != evaluation.sha256
    assert evaluation.name.startswith("pydoc_data.topics of Python 3.")
    assert evaluation_prose(None) == evaluation


topics = st.lists(
    st.lists(st.text("abc ", min_size=1, max_size=8), min_size=1, max_size=6).map(PARAGRAPH.join), min_size=1
)


@given(topics)
def test_split_shares_nothing_and_loses_nothing(topics: list[str]) -> None:
    calibration, evaluation = split(topics)
    assert len(calibration) >= CALIBRATION_SHARE * sum(map(len, topics))
    ours, theirs = set(paragraphs(calibration)), paragraphs(evaluation) if evaluation else []
    assert ours.isdisjoint(theirs)
    assert len(theirs) == len(set(theirs)), "nothing is evaluated twice"
    assert {paragraph for topic in topics for paragraph in paragraphs(topic)} - {""} <= ours | set(theirs)


def test_the_users_text(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_bytes("안녕 world".encode())
    assert (evaluation_prose(file).name, evaluation_prose(file).content) == ("mine.txt", "안녕 world")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"caf\xe9", r"not UTF-8 \(byte 3\)"),
        (b" \n", "the text is empty"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_text_that_is_none(tmp_path: Path, content: bytes | None, says: str) -> None:
    file = tmp_path / "mine.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BadInput, match=rf"mine\.txt: .*{says}"):
        evaluation_prose(file)
