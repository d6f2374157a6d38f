"""The default calibration texts: English, Korean, code and chat, in files of this package (mixture/SOURCES.md)."""

from __future__ import annotations

from pathlib import Path

from smoothdroid.host.model.texts.chat_template import ChatTemplate
from smoothdroid.host.model.texts.prose import PARAGRAPH, Prose
from smoothdroid.host.model.texts.records import Conversation, plain_text, read_jsonl

FOLDER = Path(__file__).with_name("mixture")

# Count on with every change of the files: the name is what manifests record.
NAME = "mixture 1"


def mixture(template: ChatTemplate | None) -> tuple[Prose, ...]:
    """Return the default texts; the conversations in the model's template, or their contents where it has none.

    Raises BadInput where the template does not work.
    """
    texts = [
        Prose(f"{NAME}: {part}", (FOLDER / f"{part}.txt").read_text(encoding="utf-8"))
        for part in ("english", "korean", "code")
    ]
    talks = conversations()
    name = f"{NAME}: chat"
    rendered = template.render(talks, name) if template else [plain_text(talk) for talk in talks]
    return (*texts, Prose(name, PARAGRAPH.join(rendered)))


def conversations() -> list[Conversation]:
    """Return the conversations of the default texts."""
    return [talk for talk in read_jsonl(FOLDER / "chat.jsonl", None) if isinstance(talk, list)]
