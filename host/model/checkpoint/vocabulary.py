"""The tokens that a checkpoint's tokenizer files declare, by id, and whether the model has a row for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.checkpoint.folder import Checkpoint
from smoothdroid.host.model.checkpoint.json_file import read_object
from smoothdroid.host.model.smoothquant.architectures import EMBEDDING

# Llama 2's kind of tokenizer as a file of its own. llama.cpp's converter prefers it, and leaves out tokens without a
# row: Gemma 3 1B has one, <image_soft_token>.
SENTENCEPIECE = "tokenizer.model"


def declared_tokens(folder: Path) -> dict[int, str]:
    """Return the text of each token by id, as the tokenizer's files declare it.

    The files: tokenizer.json, tokenizer_config.json and the older added_tokens.json, vocab.json. The ids
    may have holes. Empty where the folder has none of these files. Raises BadInput where a file is damaged.
    """
    tokens = dict(_base_tokens(folder))
    tokens.update(_added_tokens(folder))
    return tokens


def base_texts(folder: Path) -> frozenset[str]:
    """Return the tokens of the model proper: those that were not added to it later."""
    return frozenset(text for _, text in _base_tokens(folder))


def require_rows(checkpoint: Checkpoint) -> str | None:
    """Raise BadInput where a token's id is beyond the rows of the embedding.

    Returns a note where llama.cpp's converter leaves such tokens out, None where there are none.
    """
    embedding = checkpoint.tensors.get(f"{EMBEDDING}.weight")
    if embedding is None or len(embedding.shape) != 2:
        return None
    rows, tokens = embedding.shape[0], declared_tokens(checkpoint.path)
    if all(number < rows for number in tokens):
        return None
    if (checkpoint.path / SENTENCEPIECE).is_file():
        return f"{checkpoint.name}: {_without_row(tokens, rows)} among the model's {rows}; left out of the GGUF"
    raise no_row(checkpoint.name, tokens, rows)


def no_row(name: str, tokens: Mapping[int, str], rows: int) -> BadInput:
    """Return the error for a tokenizer with tokens for which the model has no row."""
    return BadInput(
        f"{name}: {beyond(tokens, rows)}. Either the embedding was not enlarged when the token was added "
        f"(transformers: model.resize_token_embeddings({max(tokens) + 1}), then save_pretrained), or the token does "
        "not belong to this model: take it out of the tokenizer's files (tokenizer.json, tokenizer_config.json, "
        "special_tokens_map.json, added_tokens.json)."
    )


def beyond(tokens: Mapping[int, str], rows: int) -> str:
    """Return `the tokenizer has 321 tokens, the model 320 rows: [PAD] (320) has no row`."""
    return f"the tokenizer has {len(tokens)} tokens, the model {rows} rows: {_without_row(tokens, rows)}"


def _without_row(tokens: Mapping[int, str], rows: int) -> str:
    without = sorted(number for number in tokens if number >= rows)
    first = tokens[without[0]]
    which = f"{first if first.isprintable() else ascii(first)} ({without[0]})"
    return f"{which} and {len(without) - 1} more have no row" if len(without) > 1 else f"{which} has no row"


def _base_tokens(folder: Path) -> Iterator[tuple[int, str]]:
    if (folder / "tokenizer.json").is_file():
        model = read_object(folder / "tokenizer.json").get("model")
        vocabulary = model.get("vocab") if isinstance(model, dict) else None
    elif (folder / "vocab.json").is_file():
        vocabulary = read_object(folder / "vocab.json")
    else:
        return
    if isinstance(vocabulary, list):  # a Unigram model's: [text, score], in the order of their ids
        for number, entry in enumerate(vocabulary):
            yield number, str(entry[0]) if isinstance(entry, list) and entry else str(entry)
    elif isinstance(vocabulary, dict):
        for text, number in vocabulary.items():
            yield _id(folder, text, number), text


def _added_tokens(folder: Path) -> Iterator[tuple[int, str]]:
    for file, key in (("tokenizer_config.json", "added_tokens_decoder"), ("tokenizer.json", "added_tokens")):
        content: Any = read_object(folder / file).get(key) if (folder / file).is_file() else None
        entries = content.items() if isinstance(content, dict) else []
        if isinstance(content, list):
            entries = [(entry.get("id"), entry) for entry in content if isinstance(entry, dict)]
        for number, entry in entries:
            text = entry.get("content") if isinstance(entry, dict) else None
            if isinstance(text, str):
                yield _id(folder, text, number), text
    if (folder / "added_tokens.json").is_file():
        for text, number in read_object(folder / "added_tokens.json").items():
            yield _id(folder, text, number), text


def _id(folder: Path, text: str, number: object) -> int:
    if isinstance(number, str) and number.isdecimal() and len(number) < 10:
        number = int(number)  # a key of added_tokens_decoder
    if type(number) is not int or not 0 <= number < 1 << 31:
        raise BadInput(f"{folder}: its tokenizer gives the token {text!r} the invalid id {number!r}.")
    return number
