"""The chat template of a checkpoint: found in its files, and applied in a process with limits on time and memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.common.child_process import PACKAGES
from smoothdroid.host.model.checkpoint.folder import Checkpoint
from smoothdroid.host.model.checkpoint.json_file import read_object
from smoothdroid.host.model.texts.records import Conversation

PROCESS = "smoothdroid.host.model.texts.chat_template_process"

# A template takes milliseconds for a conversation. The process is given this much time on a processor; its
# clock time is limited too, for a machine that is busy.
CPU_S = 30
CLOCK_S = 10 * CPU_S

SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""The variables with tokens that transformers gives to a template."""

DEFAULT = "default"
"""The name of the template to use where a tokenizer_config.json has several."""


@dataclass(frozen=True)
class ChatTemplate:
    """A Jinja template from a checkpoint, which is hostile until it has been applied; `file` is for messages."""

    file: Path
    source: str
    tokens: dict[str, str]

    def render(self, conversations: list[Conversation], name: str) -> list[str]:
        """Return each conversation of the text `name` as the model reads it.

        Raises BadInput where the template fails on one, takes too long or too much memory, or writes too much.
        """
        if not conversations:
            return []
        job = {"template": self.source, "tokens": self.tokens, "conversations": conversations, "cpu_s": CPU_S}
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
        argv = [sys.executable, "-m", PROCESS]
        try:
            ended = subprocess.run(
                argv,
                input=json.dumps(job).encode(),
                capture_output=True,
                timeout=CLOCK_S,
                env=environment,
                cwd=PACKAGES,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise self._refused(name, "does not finish") from error
        if ended.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
            raise self._refused(name, f"does not finish in {CPU_S} s")
        try:
            answer = json.loads(ended.stdout)
        except ValueError as error:
            said = ended.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise self._refused(name, f"ends its process with status {ended.returncode} {' '.join(said)}") from error
        if "error" in answer:
            raise self._refused(name, answer["error"])
        texts: list[str] = answer["texts"]
        return texts

    def _refused(self, name: str, what: str) -> BadInput:
        return BadInput(
            f"{self.file}: the chat template, applied to {name}, {what}. Correct the template, or calibrate without "
            "it: give a text with --calib and leave out --chat."
        )


def find_template(checkpoint: Checkpoint) -> ChatTemplate:
    """Return the checkpoint's own chat template. Raises BadInput where it has none."""
    template = template_of(checkpoint)
    if template is None:
        raise BadInput(
            f"{checkpoint.name}: the checkpoint has no chat template (chat_template.jinja, or chat_template in "
            "tokenizer_config.json). Leave out --chat; conversations are then read as plain text."
        )
    return template


def template_of(checkpoint: Checkpoint) -> ChatTemplate | None:
    """Return the checkpoint's own chat template, from the file that transformers prefers; None where it has none.

    Raises BadInput where a file cannot be read.
    """
    files = {file.name: file for file in checkpoint.companion_files}
    tokens = _special_tokens(files)
    if jinja := files.get("chat_template.jinja"):
        try:
            return ChatTemplate(jinja, jinja.read_text(encoding="utf-8-sig"), tokens)
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"{jinja}: the chat template cannot be read: {error}.") from error
    for name in ("chat_template.json", "tokenizer_config.json"):
        if name in files and (source := _default(read_object(files[name]).get("chat_template"))):
            return ChatTemplate(files[name], source, tokens)
    return None


def _default(template: object) -> str | None:
    """Return the template, or the default one of several, each {"name": ..., "template": ...}."""
    if isinstance(template, list):
        template = next((one.get("template") for one in template if _named_default(one)), None)
    return template if isinstance(template, str) else None


def _named_default(template: object) -> bool:
    return isinstance(template, dict) and template.get("name") == DEFAULT


def _special_tokens(files: dict[str, Path]) -> dict[str, str]:
    """Return the special tokens that the tokenizer's files name."""
    found: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if name in files:
            content = read_object(files[name])
            found |= {token: content[token] for token in SPECIAL_TOKENS if token in content}
    texts = {token: value.get("content") if isinstance(value, dict) else value for token, value in found.items()}
    return {token: text for token, text in texts.items() if isinstance(text, str)}
