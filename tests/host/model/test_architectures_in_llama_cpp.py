"""Every row of the table in llama.cpp: converted with all changes, its float32 run is the original's."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from gguf import GGUFReader

from smoothdroid.host.llamacpp import compile as compiler
from smoothdroid.host.llamacpp import source, variants
from smoothdroid.host.model.arithmetic import arithmetic_of
from smoothdroid.host.model.calibration.network import Network
from smoothdroid.host.model.checkpoint.weights import Weights
from smoothdroid.host.model.evaluate.emulated_kernels import EmulatedKernels
from smoothdroid.host.model.evaluate.logits import SavedLogits, compare, open_logits, save_logits
from smoothdroid.host.model.evaluate.perplexity import PerplexityTask, arguments
from smoothdroid.host.model.smoothquant.architectures import ARCHITECTURES
from smoothdroid.host.model.smoothquant.folds import head_fold
from smoothdroid.host.model.smoothquant.tensor_changes import save_changes
from tests.host.model.convert_many import CHANGES, PRE_TOKENIZER
from tests.host.model.odd_checkpoints import byte_level, changed, edited, reads_images, sentencepiece
from tests.host.model.test_architectures import Original, made, rotates
from tests.host.model.tiny_models import VOCABULARY

TEXT = "".join(f"pack my box with {chr(97 + n % 26) * 4} dozen liquor jugs. " for n in range(99))
TASK = PerplexityTask(Path(), "text", context=64, windows=2, vocabulary=VOCABULARY)

# The mean over tokens. The 16 bits of llama-perplexity's format make up to 5e-5 of a single token's.
MAX_KLD = 1e-5

# transformers can give these a bias of `o`; llama.cpp has no place for it, and public models have none.
WITHOUT_BIAS = ("GemmaForCausalLM", "Gemma2ForCausalLM", "Gemma3ForCausalLM", "Qwen3ForCausalLM")


def every_tokenizer(folder: Path) -> None:
    """Give a checkpoint both kinds of tokenizer: llama.cpp's converter has one in mind for each architecture."""
    sentencepiece(folder)
    byte_level(folder)
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    begin = len(content["model"]["vocab"])
    names = [token["content"] for token in content["added_tokens"]] + ["<|endoftext|>", "<|user|>"]
    ids = {**content["model"]["vocab"], "<|endoftext|>": begin, "<|user|>": begin + 1}
    content["added_tokens"] = [
        {
            "id": ids[name],
            "content": name,
            **dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False),
            "special": True,
        }
        for name in names
    ]
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    edited("tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")(folder)
    (folder / PRE_TOKENIZER).write_text("gpt-2", encoding="utf-8")


READ_IMAGES = {
    "gemma-3": ("Gemma3ForCausalLM", ("Gemma3ForConditionalGeneration", "gemma3")),
    "gemma-3-new": ("Gemma3ForCausalLM", ("Gemma3ForConditionalGeneration", "gemma3", "model.language_model.")),
    "mistral-small": ("MistralForCausalLM", ("Mistral3ForConditionalGeneration", "mistral3")),
    "ministral-3": ("Ministral3ForCausalLM", ("Mistral3ForConditionalGeneration", "mistral3")),
}
"""Models that also read images -> the architecture of their text part, and how they name it."""


@dataclass(frozen=True)
class InLlamaCpp:
    """The tiny models as GGUFs, plain and with all changes."""

    folder: Path
    originals: dict[str, Original]
    errors: dict[str, str | None]
    notes: dict[str, list[str]]

    def run(self, name: str) -> SavedLogits:
        """Run a GGUF in float32, its KV cache too."""
        assert self.errors[name] is None, self.errors[name]
        built = compiler.find([variants.find("host", "native")], source.pinned())
        assert built is not None, "these tests run llama-perplexity: `smoothdroid build --abi host`"
        files = (str(self.folder / file) for file in (f"{name}.gguf", "text.txt", f"{name}.logits"))
        gguf, text, saved = files
        argv = [str(built.tool("llama-perplexity")), *arguments(gguf, text, TASK, saved)]
        exact = ["--cache-type-k", "f32", "--cache-type-v", "f32", "--flash-attn", "off"]
        done = subprocess.run([*argv, *exact], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return open_logits(Path(saved))

    def in_transformers(self, name: str, run: SavedLogits) -> SavedLogits:
        """Predict the same with transformers, from the unchanged checkpoint."""
        original = self.originals[name]
        ids = torch.from_numpy(run.tokens.astype("int64"))
        fields = GGUFReader(self.folder / f"{name}.gguf").fields
        if "tokenizer.ggml.add_bos_token" not in fields or fields["tokenizer.ggml.add_bos_token"].contents():
            bos = fields["tokenizer.ggml.bos_token_id"].contents()
            ids[:, 0] = bos if int(ids[0, 0]) == bos else ids[:, 0]
        network, weights = Network(original.checkpoint), Weights(original.checkpoint)
        stream = network.begin(ids, weights)
        for number in range(network.sizes.n_layers):
            with network.layer(number, weights.read) as layer:
                network.advance(stream, number, layer)
        logits = network.logits(stream, weights)[:, TASK.context // 2 : -1]
        saved = self.folder / f"{name}.transformers"
        save_logits(saved, run.tokens, TASK.vocabulary, (window.numpy() for window in logits))
        return open_logits(saved)


@pytest.fixture(scope="module")
def in_llama_cpp(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, llama_cpp: Path
) -> InLlamaCpp:
    folder = tmp_path_factory.mktemp("architectures")
    originals, models = {}, []
    selected = {item.name for item in request.session.items}
    if any("[mistral-small]" in item for item in selected):
        selected.add("[MistralForCausalLM]")
    for name in (name for name in sorted(ARCHITECTURES) if any(f"[{name}]" in item for item in selected)):
        (folder / name).mkdir()
        tied = not ARCHITECTURES[name].own_head
        bias = {"attention_bias": False} if name in WITHOUT_BIAS else {}
        original = made(folder / name, name, tied=tied, config=bias)
        every_tokenizer(original.checkpoint.path)
        plain = changed(folder / name / name, original.checkpoint.path)
        smooth = changed(folder / name / f"{name}-smooth", original.checkpoint.path)
        folds = tuple(fold for fold in original.folds if not (tied and fold == head_fold(name)))
        changes = original.changes(folds, original.rotated() if rotates(name) and not tied else None)
        save_changes(changes, smooth / CHANGES)
        originals[name] = original
        models += [plain, smooth]
        for whole, (alone, wrapped) in READ_IMAGES.items():
            if alone == name:
                models.append(changed(folder / name / whole, smooth, reads_images(*wrapped)))
    out = folder / "out"
    argv = [sys.executable, "-m", "tests.host.model.convert_many", str(llama_cpp), str(out), *map(str, models)]
    done = subprocess.run(argv, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    results = [json.loads(line) for line in done.stdout.splitlines()]
    errors, notes = ({line["name"]: line[key] for line in results} for key in ("error", "notes"))
    (out / "text.txt").write_text(TEXT, encoding="utf-8")
    return InLlamaCpp(out, originals, errors, notes)


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_the_smoothed_gguf_is_the_original(in_llama_cpp: InLlamaCpp, architecture: str) -> None:
    plain, smooth = in_llama_cpp.run(architecture), in_llama_cpp.run(f"{architecture}-smooth")
    exact = in_llama_cpp.in_transformers(architecture, plain)
    assert compare(plain, smooth).kld.mean() < MAX_KLD
    assert compare(exact, plain).kld.mean() < MAX_KLD


@pytest.mark.parametrize(
    ("whole", "alone"), [(whole, alone) for whole, (alone, _) in READ_IMAGES.items()], ids=lambda name: f"[{name}]"
)
def test_the_text_part_of_a_model_that_reads_images(in_llama_cpp: InLlamaCpp, whole: str, alone: str) -> None:
    """The smoothed GGUF of the text part within the whole model computes the same as that of the text part alone."""
    found = compare(in_llama_cpp.run(f"{alone}-smooth"), in_llama_cpp.run(whole))
    assert found.kld.mean() < MAX_KLD
    assert not in_llama_cpp.notes[whole]


@pytest.mark.parametrize(
    "name", ["Ernie4_5ForCausalLM", "LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM", "mistral-small"]
)
def test_the_emulated_network_is_llama_cpps(in_llama_cpp: InLlamaCpp, name: str) -> None:
    run = in_llama_cpp.run(name)
    saved = in_llama_cpp.folder / f"{name}.emulated"
    task = replace(TASK, tokens=run.tokens)
    EmulatedKernels(arithmetic_of("ggml")).save_logits(in_llama_cpp.folder / f"{name}.gguf", task, saved)
    assert compare(run, open_logits(saved)).kld.mean() < 10 * MAX_KLD, "its KV cache is f16"


def test_the_documentation_lists_the_architectures() -> None:
    page = Path("docs/how-to/architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`\w+`.*?) \|", page, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == ARCHITECTURES.keys()
