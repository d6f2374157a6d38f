"""The process that applies a chat template: a job as JSON on stdin, its answer as JSON on stdout."""

from __future__ import annotations

import json
import resource
import sys
from contextlib import suppress
from datetime import datetime
from math import ceil
from pathlib import Path
from typing import Any

from transformers.utils import chat_template_utils

# The memory that a template may take on top of what Python and transformers hold.
MEMORY_BYTES = 512 * 1024**2

# The answer's characters for each character of the conversations, and on top of that. A template adds a line a message
# and a system prompt to a conversation; one that calls tools adds their descriptions.
MAX_GROWTH, MAX_ADDED = 10, 10**6


class FixedDate(datetime):
    """The date that `strftime_now` gives to templates, which put it into a system prompt: the same on every day."""

    @classmethod
    def now(cls, tz: Any = None) -> FixedDate:  # noqa: ANN401 (as datetime's)
        """Return the fixed date."""
        return cls(2026, 1, 1, tzinfo=tz)


def main() -> None:
    """Apply the template to each conversation, and answer with the texts or with what is wrong."""
    job = json.load(sys.stdin)
    limit(job["cpu_s"])
    try:
        answer: dict[str, object] = {"texts": render(job["template"], job["conversations"], job["tokens"])}
    except MemoryError:
        answer = {"error": f"takes more than {MEMORY_BYTES >> 20} MiB of memory"}
    except Exception as error:  # a template may raise anything, and all of it is a message to the user
        notes = [f" {note}" for note in getattr(error, "__notes__", [])]
        answer = {"error": f"fails{''.join(notes)}: {type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(answer))


def limit(cpu_s: int) -> None:
    """Limit what this process may still take: seconds on a processor, and memory where the system enforces that."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = ceil(used.ru_utime + used.ru_stime + cpu_s)
    resource.setrlimit(resource.RLIMIT_CPU, (until, until))
    with suppress(OSError, ValueError):  # macOS
        statm = Path("/proc/self/statm").read_text(encoding="ascii")
        held = int(statm.split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY_BYTES, held + MEMORY_BYTES))


def render(template: str, conversations: list[list[dict[str, Any]]], tokens: dict[str, str]) -> list[str]:
    """Return each conversation as transformers renders it, in its sandbox.

    Raises ValueError where the texts are longer than a template can have reason for, and what the template raises,
    with the number of the conversation as a note.
    """
    module: Any = chat_template_utils
    module.datetime = FixedDate
    left = MAX_GROWTH * sum(len(json.dumps(one, ensure_ascii=False)) for one in conversations) + MAX_ADDED
    texts: list[str] = []
    for number, conversation in enumerate(conversations, 1):
        try:
            (text,), _ = module.render_jinja_template([conversation], chat_template=template, **tokens)
        except Exception as error:
            error.add_note(f"on conversation {number}")
            raise
        texts.append(text)
        left -= len(text)
        if left < 0:
            raise ValueError("its text is more than ten times as long as the conversations")
    return texts


if __name__ == "__main__":
    main()
