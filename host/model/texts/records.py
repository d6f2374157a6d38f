"""The records of a calibration file: texts and conversations, as many as calibration needs; and JSONL."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from smoothdroid.device.common.errors import BadInput

MESSAGES = "messages"
"""The field that is read where none is named: a conversation, as most chat data sets have it."""

# Characters that are read of one file: some four million tokens, a hundred times what 128 windows of 512 tokens need.
# Data sets have gigabytes.
MAX_CHARACTERS = 16 * 1024**2

Conversation = list[dict[str, Any]]
"""Messages, each with at least `role` and `content`, as chat templates take them."""


def first_records(path: Path, records: Iterable[str | Conversation]) -> list[str | Conversation]:
    """Return the records that have text, as far as MAX_CHARACTERS reach. Raises BadInput where none has any."""
    taken: list[str | Conversation] = []
    characters = 0
    for record in records:
        text = plain_text(record) if isinstance(record, list) else record
        if text.strip():
            taken.append(record)
            characters += len(text)
        if characters >= MAX_CHARACTERS:
            break
    if not taken:
        raise BadInput(f"{path}: the text is empty.")
    return taken


def read_jsonl(path: Path, field: str | None) -> Iterator[str | Conversation]:
    """Yield the text or the conversation in the field of each line; lines with nothing but space are passed over.

    Raises BadInput where the file cannot be read, a line is not a JSON object in UTF-8, or the field is missing or
    neither.
    """
    try:
        with path.open("rb") as stream:
            number = 0
            while line := stream.readline(MAX_CHARACTERS):
                number += 1
                where = f"{path}: line {number}"
                if len(line) == MAX_CHARACTERS:
                    raise BadInput(f"{where} has more than {MAX_CHARACTERS} bytes: JSONL has one record a line.")
                if line.strip():
                    yield value_of(_object(line, where), field, where)
    except OSError as error:
        raise BadInput(f"{path}: the file cannot be read: {error.strerror}.") from error


def value_of(record: Mapping[str, Any], field: str | None, where: str) -> str | Conversation:
    """Return the text or the conversation in the field of a record; null counts as an empty text.

    `where` names the record in messages. Raises BadInput where the field is missing or holds neither.
    """
    wanted = field or MESSAGES
    if wanted not in record:
        advice = f"Name the field to read, as in FILE:{next(iter(record), 'text')}."
        raise BadInput(f"{where}: no field {wanted!r}; its fields are {', '.join(record) or 'none'}. {advice}")
    value = record[wanted]
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if _is_conversation(value):
        return list(value)
    raise BadInput(
        f"{where}: the field {wanted!r} is neither a text nor a list of messages, each with a role and a content."
    )


def plain_text(conversation: Conversation) -> str:
    """Return the contents of the messages, a paragraph each."""
    return "\n\n".join(_content(message["content"]) for message in conversation)


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BadInput(f"{where}: not UTF-8. Convert the file to UTF-8.") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{where}: not JSON: {error}. JSONL has one JSON object a line.") from error
    if not isinstance(record, dict):
        raise BadInput(f"{where}: not a JSON object. JSONL has one JSON object a line.")
    return record


def _is_conversation(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(message, dict) and isinstance(message.get("role"), str) and "content" in message for message in value
    )


def _content(content: object) -> str:
    """Return a message's text; where it has several parts, those that are text."""
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "\n".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""
