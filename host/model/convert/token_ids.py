"""The vocabulary of a tokenizer.json for llama.cpp's converter, with every token at its own id."""

# ruff: noqa: ANN401 - the converter is imported at run time and has no types here

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from smoothdroid.host.model.checkpoint.vocabulary import base_texts, declared_tokens, no_row

# The converter's own score for tokens that only hold an id (`_create_vocab_sentencepiece` in conversion/base.py).
UNUSED_SCORE = -10000.0


def by_token_id(original: type, gguf: Any, folder: Path, rows: Callable[[], int | None]) -> type:
    """Return the converter's reader of tokenizer.json with every token at its id, and [PAD...] for missing ids.

    `original` is that reader, `gguf` the converter's gguf package, `folder` the checkpoint, and `rows` the number of
    rows of the embedding that is about to be written.
    """

    class ById(original):  # type: ignore[misc]
        def __init__(self, base_path: Path) -> None:
            super().__init__(base_path)
            self.texts = declared_tokens(folder)
            known = set(self.texts.values())
            for text, number in self.tokenizer.get_vocab().items():  # transformers adds special tokens by itself
                if text not in known:
                    self.texts[max(self.texts) + 1 if number in self.texts else number] = text
            self.vocab_size = rows() or max(self.texts) + 1
            if max(self.texts) >= self.vocab_size:
                raise no_row(folder.name, self.texts, self.vocab_size)

        def all_tokens(self) -> Any:
            base, special = base_texts(folder), set(self.tokenizer.all_special_tokens)
            types = gguf.TokenType
            for number in range(self.vocab_size):
                text = self.texts.get(number)
                if text is None:
                    yield f"[PAD{number}]".encode(), UNUSED_SCORE, types.UNUSED
                    continue
                # As the original has it: NORMAL or BYTE of the base, USER_DEFINED of the rest, CONTROL of either.
                kind = types.USER_DEFINED
                if text in base:
                    kind = self.get_token_type(number, text.encode(), frozenset())
                control = text in special and kind != types.BYTE
                yield text.encode(), self.get_token_score(number), types.CONTROL if control else kind

    return ById
