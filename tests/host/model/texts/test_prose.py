from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.texts.prose import LEFT_OUT_SHARE, PARAGRAPH, evaluation_prose, last_part


def paragraphs(text: str) -> list[str]:
    return [paragraph.strip() for paragraph in text.split(PARAGRAPH)]


def test_the_default_text_is_long_enough_and_says_what_it_is() -> None:
    evaluation = evaluation_prose(None)
    assert len(evaluation.content) > 80_000, "40 windows of 512 tokens and more"
    assert evaluation.name.startswith("pydoc_data.topics of Python 3.")
    assert evaluation_prose(None) == evaluation


topics = st.lists(
    st.lists(st.text("abc ", min_size=1, max_size=8), min_size=1, max_size=6).map(PARAGRAPH.join), min_size=1
)


@given(topics)
def test_the_last_part_repeats_nothing(topics: list[str]) -> None:
    last = last_part(topics)
    kept, every = paragraphs(last) if last else [], [each for topic in topics for each in paragraphs(topic)]
    assert len(kept) == len(set(kept)), "nothing is evaluated twice"
    first: list[str] = []
    for topic in topics:
        if sum(map(len, first)) >= LEFT_OUT_SHARE * sum(map(len, topics)):
            break
        first.append(topic)
    left_out = {each for topic in first for each in paragraphs(topic)}
    assert left_out.isdisjoint(kept)
    assert set(every) - {""} <= left_out | set(kept)


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
