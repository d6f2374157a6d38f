"""The text part of a checkpoint that also reads images: a language model of its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from smoothdroid.host.model.smoothquant.architectures import HEAD

TEXT_PARTS: Mapping[tuple[str, str], str] = {
    ("Gemma3ForConditionalGeneration", "gemma3_text"): "Gemma3ForCausalLM",
    ("Mistral3ForConditionalGeneration", "mistral"): "MistralForCausalLM",
    ("Mistral3ForConditionalGeneration", "ministral3"): "Ministral3ForCausalLM",
}
"""The class of the text part alone, by the class of the whole and the `model_type` in its text_config."""

# The names of transformers 4 and those of transformers 5, and what they are in the text part alone.
PREFIXES = {
    "language_model.model.": "model.",
    "language_model.lm_head.": "lm_head.",
    "model.language_model.": "model.",
    "lm_head.": "lm_head.",
}


@dataclass(frozen=True)
class TextPart:
    """The text part of a checkpoint.

    `config` is what its config.json would be alone; `stored_names` maps the names of its tensors to those in the files.
    """

    config: Mapping[str, Any]
    architecture: str
    stored_names: Mapping[str, str]


def text_part(config: Mapping[str, Any], architecture: str, names: Collection[str]) -> TextPart | None:
    """Return the text part of a checkpoint with the tensors `names`, None where the architecture has no known one."""
    text = config.get("text_config")
    if not isinstance(text, dict) or (architecture, text.get("model_type")) not in TEXT_PARTS:
        return None
    alone = TEXT_PARTS[architecture, text["model_type"]]
    stored = {
        wanted + name.removeprefix(prefix): name
        for name in names
        for prefix, wanted in PREFIXES.items()
        if name.startswith(prefix)
    }
    tied = text.get("tie_word_embeddings", config.get("tie_word_embeddings", f"{HEAD}.weight" not in stored))
    return TextPart({**text, "architectures": [alone], "tie_word_embeddings": tied}, alone, stored)
