from __future__ import annotations

from pathlib import Path

from smoothdroid.host.model.checkpoint.folder import open_checkpoint
from smoothdroid.host.model.texts.calibration import calibration_texts
from smoothdroid.host.model.texts.mixture import FOLDER, conversations, mixture
from smoothdroid.host.model.texts.prose import evaluation_prose, names_of, sha256_of_texts
from tests.host.model.tiny_models import write_tiny_model


def test_it_is_the_same_on_every_machine() -> None:
    """A change of the files must change this hash, and the number in their name."""
    texts = mixture(None)
    assert names_of(texts) == "mixture 1: english, mixture 1: korean, mixture 1: code, mixture 1: chat"
    assert sha256_of_texts(texts) == "ca1f1638efedc48e20e0d29db61173bf02ee4d5ed2c27b2a5bd0fcfb11d4d94e"
    assert sum(len(text.content.encode()) for text in texts) < 200_000


def test_nothing_in_it_is_evaluated_on() -> None:
    def lines(text: str) -> set[str]:
        return {line.strip() for line in text.splitlines() if len(line.strip()) > 40}

    evaluated = lines(evaluation_prose(None).content)
    assert evaluated.isdisjoint(line for text in mixture(None) for line in lines(text.content))


def test_every_file_has_its_source() -> None:
    sources = (FOLDER / "SOURCES.md").read_text(encoding="utf-8")
    data = [file.name for file in FOLDER.iterdir() if file.name not in ("SOURCES.md", "LICENSES.txt")]
    assert len(data) == 4
    assert [name for name in data if f"| {name} |" not in sources] == []


def test_conversations_alternate_and_begin_with_the_user() -> None:
    """Some templates refuse a system prompt, or the same role twice in a row."""
    for talk in conversations():
        assert [message["role"] for message in talk] == ["user", "assistant"] * (len(talk) // 2)


def test_chat_is_in_the_models_template(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "tiny", "LlamaForCausalLM")
    assert calibration_texts((), open_checkpoint(folder)) == mixture(None)
    source = "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{% endfor %}"
    (folder / "chat_template.jinja").write_text(source, encoding="utf-8")
    *others, chat = calibration_texts((), open_checkpoint(folder))
    assert tuple(others) == mixture(None)[:3]
    assert chat.content.count("<|user|>") == sum(len(talk) // 2 for talk in conversations())
