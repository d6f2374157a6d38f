"""Checkpoints as people bring them, each a change to a tiny one, with the public report that it stands for."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
SINGLE = "model.safetensors"
PAD = {"content": "[PAD]", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}

TensorChange = Callable[[Path], None]
"""Makes a copy of a checkpoint an odd one."""


def changed(folder: Path, base: Path, *changes: TensorChange) -> Path:
    """Make `folder` a copy of the checkpoint `base` with these changes."""
    shutil.copytree(base, folder)
    for change in changes:
        change(folder)
    return folder


def edited(file: str, **values: Any) -> TensorChange:
    """Set keys of a JSON file; `...` takes one out."""

    def change(folder: Path) -> None:
        content = {**json.loads((folder / file).read_text(encoding="utf-8")), **values}
        content = {key: value for key, value in content.items() if value is not ...}
        (folder / file).write_text(json.dumps(content), encoding="utf-8")

    return change


def config(**values: Any) -> TensorChange:
    """Set keys of config.json."""
    return edited("config.json", **values)


def tensors(change_them: Callable[[dict[str, Tensor]], Mapping[str, Tensor] | None]) -> TensorChange:
    """TensorChange the tensors: in place, or the mapping that is returned."""

    def change(folder: Path) -> None:
        stored = load_file(folder / SINGLE)
        stored = dict(change_them(stored) or stored)
        save_file({name: each.contiguous().clone() for name, each in stored.items()}, folder / SINGLE, {"format": "pt"})

    return change


def rows(number: int) -> TensorChange:
    """An embedding and a head of that many rows, in config.json too."""

    def change(folder: Path) -> None:
        def enlarge(stored: dict[str, Tensor]) -> None:
            for name in (EMBEDDING, HEAD):
                if name in stored:
                    new = torch.randn(number, 64, generator=torch.Generator().manual_seed(5)) * 0.05
                    kept = min(number, len(stored[name]))
                    new[:kept] = stored[name][:kept]
                    stored[name] = new

        tensors(enlarge)(folder)
        config(vocab_size=number)(folder)

    return change


def added_token(number: int, text: str = "[PAD]") -> TensorChange:
    """One more token in tokenizer.json."""

    def change(folder: Path) -> None:
        content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        content["added_tokens"].append({"id": number, **PAD, "content": text})
        (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")

    return change


def token_removed(number: int) -> TensorChange:
    """No token of that id, and no merge that makes or uses it."""

    def change(folder: Path) -> None:
        content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        model = content["model"]
        (text,) = [text for text, each in model["vocab"].items() if each == number]
        del model["vocab"][text]
        model["merges"] = [pair for pair in model["merges"] if text not in ("".join(pair), *pair)]
        (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")

    return change


def prefixed(prefix: str) -> TensorChange:
    """All tensors' names with a prefix."""
    return tensors(lambda stored: {prefix + name: each for name, each in stored.items()})


def reads_images(whole: str, model_type: str, prefix: str = "language_model.model.") -> TensorChange:
    """Make a checkpoint the text part of one that also reads images."""

    def change(folder: Path) -> None:
        def rename(stored: dict[str, Tensor]) -> dict[str, Tensor]:
            names = {name: name.replace("model.", prefix, 1) for name in stored}
            if HEAD in names and prefix.startswith("language_model."):
                names[HEAD] = f"language_model.{HEAD}"
            images = {"vision_tower.vision_model.post_layernorm.weight": torch.ones(8)}
            return {names[name]: each for name, each in stored.items()} | images

        text = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        del text["architectures"]
        content = {"architectures": [whole], "model_type": model_type, "text_config": text, "vision_config": {}}
        (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")
        tensors(rename)(folder)

    return change


def bare(folder: Path) -> None:
    """Names without `model.`, as LlamaModel.save_pretrained writes them; the head is lost."""
    tensors(lambda stored: {name.removeprefix("model."): each for name, each in stored.items() if name != HEAD})(folder)


def marked(*files: str) -> TensorChange:
    """Files that begin with UTF-8's byte order mark, as some editors save them."""

    def change(folder: Path) -> None:
        for file in files:
            (folder / file).write_bytes(b"\xef\xbb\xbf" + (folder / file).read_bytes())

    return change


def sharded(
    first: str = "model-00001-of-00002.safetensors", second: str = "model-00002-of-00002.safetensors"
) -> TensorChange:
    """Two weight files and their index; the single file stays."""

    def change(folder: Path) -> None:
        stored = load_file(folder / SINGLE)
        names = sorted(stored)
        parts = {first: names[: len(names) // 2], second: names[len(names) // 2 :]}
        for file, part in parts.items():
            save_file({name: stored[name] for name in part}, folder / file, {"format": "pt"})
        index = {"metadata": {}, "weight_map": {name: file for file, part in parts.items() for name in part}}
        (folder / f"{SINGLE}.index.json").write_text(json.dumps(index), encoding="utf-8")

    return change


def without(*files: str) -> TensorChange:
    """Files that are not there."""

    def change(folder: Path) -> None:
        for file in files:
            (folder / file).unlink()

    return change


def byte_level(folder: Path) -> None:
    """GPT-2's kind of tokenizer, trained on the spot: no table knows how it cuts text. 320 tokens at most."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer

    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=300,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the quick brown fox jumps over the lazy dog " * 5], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))


def vocab_and_merges(folder: Path) -> None:
    """The same in the two files of older checkpoints, without a tokenizer.json."""
    byte_level(folder)
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    pairs = [" ".join(pair) for pair in model["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *pairs, ""]), encoding="utf-8")
    (folder / "tokenizer.json").unlink()
    edited("tokenizer_config.json", tokenizer_class="GPT2Tokenizer")(folder)


def sentencepiece(folder: Path) -> None:
    """Llama 2's tokenizer.model, with 310 pieces, and no tokenizer.json."""
    import sentencepiece as spm

    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(["the quick brown fox jumps over the lazy dog pack my box with liquor jugs"] * 200),
        model_writer=model,
        vocab_size=310,
        model_type="bpe",
        byte_fallback=True,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    (folder / "tokenizer.json").unlink()
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "legacy": True}
    content = {"tokenizer_class": "LlamaTokenizer", **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(content), encoding="utf-8")
