"""Translate what llama.cpp's converter raises on a checkpoint into advice for the user."""

# ruff: noqa: ANN401 - the converter is imported at run time and has no types here

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.calibration.transformers_loading import load_tokenizer
from smoothdroid.host.model.checkpoint.tensor_names import listed, prefix_advice
from smoothdroid.host.model.checkpoint.vocabulary import no_row

UNMAPPED = "Can not map tensor"

# The converter reports a missing one by its path, at the end of a sentence that differs between architectures.
VOCABULARY_FILES = (".model", "tokenizer.json", "vocab.json", "merges.txt")

# Stored beside the weights by tools that quantise, and read by none here.
SCALES = (".k_scale", ".v_scale", ".input_scale", ".weight_scale", ".kv_scale")


@contextmanager
def explained(checkpoint: Path, model: Callable[[], Any]) -> Iterator[None]:
    """Raise BadInput for what the converter raises, within this context, on a known fault of the checkpoint.

    Other errors pass. `model` gives the converter's object for the checkpoint, or None.
    """
    try:
        yield
    except NotImplementedError as error:
        raise _not_implemented(checkpoint, error) from error
    except (ValueError, FileNotFoundError) as error:
        line = _line(error)
        if UNMAPPED in line:
            raise _strays(checkpoint, line.partition(UNMAPPED)[2].strip(" '\""), model()) from error
        if not line.endswith(VOCABULARY_FILES):
            raise
        raise BadInput(
            f"{checkpoint}: llama.cpp's converter needs {Path(line).name} for this model, and it is not there. Copy it "
            "from where the checkpoint, or the model that it was trained from, came from."
        ) from error
    except AssertionError as error:  # it has no message: `max(tokenizer.vocab.values()) < vocab_size`
        rows = getattr(model(), "hparams", {}).get("vocab_size")
        tokens = {number: text for text, number in load_tokenizer(checkpoint).get_vocab().items()}
        if type(rows) is not int or max(tokens) < rows:
            raise
        raise no_row(checkpoint.name, tokens, rows) from error


def _not_implemented(checkpoint: Path, error: NotImplementedError) -> BadInput:
    if "pre-tokenizer" not in str(error):
        return BadInput(f"{checkpoint}: llama.cpp's converter cannot do this: {_line(error)}")
    return BadInput(
        f"{checkpoint}: its BPE pre-tokenizer is not known to this llama.cpp: the table get_vocab_base_pre in "
        "conversion/base.py, by which the converter recognises how a tokenizer cuts text, has no entry for it. If the "
        "vocabulary is the one of a known model, copy that model's tokenizer.json here; if the model is new, give a "
        "llama.cpp that knows it with --llama-cpp."
    )


def _strays(checkpoint: Path, first: str, model: Any) -> BadInput:
    """Return the error for tensors that have no place in llama.cpp's architecture."""
    names = [name for name in getattr(model, "model_tensors", {}) if not _is_mapped(model, name)] or [first]
    if advice := prefix_advice(names, getattr(model, "model_tensors", {})):
        return BadInput(f"{checkpoint}: {advice}")
    if all(name.endswith(SCALES) for name in names):
        why = "Such scales are left behind by a tool that quantises."
    else:
        why = "Either config.json is not this checkpoint's, or this is a leftover of its training."
    return BadInput(
        f"{checkpoint}: llama.cpp has no place for {listed(names)}. {why} Save the checkpoint again without "
        f"{'it' if len(names) == 1 else 'them'} (transformers: from_pretrained, then save_pretrained)."
    )


def _is_mapped(model: Any, name: str) -> bool:
    if name.endswith((".attention.masked_bias", ".attention.bias", ".rotary_emb.inv_freq")):
        return True  # left out by the converter
    mapped = model.tensor_map.get_name(key=name, try_suffixes=(".weight", ".bias"))
    return mapped is not None or ".experts." in name


def _line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
