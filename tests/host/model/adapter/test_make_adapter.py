"""Adapters of PEFT on smoothed bases, through llama.cpp's real script and its real kernels."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from gguf import GGUFReader
from safetensors.torch import load_file

from smoothdroid.device.common.errors import BadInput, SmoothdroidError
from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.host.model.adapter import make_adapter as making
from smoothdroid.host.model.adapter.make_adapter import MadeAdapter, make_adapter
from smoothdroid.host.model.adapter.peft_folder import open_adapter
from smoothdroid.host.model.checkpoint.folder import open_checkpoint
from smoothdroid.host.model.evaluate.logits import compare, open_logits, save_logits
from smoothdroid.host.model.evaluate.perplexity import HostKernels, PerplexityTask
from smoothdroid.host.model.prepare import prepare
from smoothdroid.host.model.prepare_settings import PrepareSettings
from smoothdroid.host.model.provenance.adapter_manifest import AdapterBinding, read_binding, require_base
from smoothdroid.host.model.provenance.manifest import changes_path, manifest_path
from tests.host.model.adapter.peft_adapters import merged, write_adapter
from tests.host.model.odd_checkpoints import sentencepiece
from tests.host.model.tiny_models import PROSE, write_tiny_model
from tests.host.tiny_gguf import write_llama

ALL_FOLDS = "norm,up-down,v-o,rotate"


@dataclass(frozen=True)
class Made:
    """A tiny Llama, the GGUF of it with every fold and the rotation, an adapter of it, and that for the GGUF."""

    model: Path
    base: Path
    peft: Path
    adapter: MadeAdapter


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, prose: Path, llama_cpp: Path) -> Made:
    folder = tmp_path_factory.mktemp("base")
    model = write_tiny_model(folder / "tiny", "LlamaForCausalLM")
    settings = PrepareSettings(n_samples=4, seq_len=32, calib=prose, folds=ALL_FOLDS, types=("f32",))
    (base,) = prepare(model, folder / "out", settings, llama_cpp=llama_cpp, llama_cpp_id="b1")
    peft = write_adapter(folder / "lora", model)
    return Made(model, base.path, peft, make(peft, base.path, folder / "lora.gguf", llama_cpp))


def make(folder: Path, base: Path, output: Path, llama_cpp: Path) -> MadeAdapter:
    return make_adapter(folder, base, output, llama_cpp=llama_cpp, llama_cpp_id="b1")


def divergence(made: Made, model: Path, kernels: HostKernels, work: Path) -> float:
    """The mean KLD of the base on llama.cpp's kernels from the checkpoint `model` in transformers."""
    text = work / "text.txt"
    text.write_text(PROSE * 20)
    task = PerplexityTask(text, "text", context=64, windows=2, vocabulary=320)
    kernels.save_logits(made.base, task, work / "by_llama_cpp")
    saved = open_logits(work / "by_llama_cpp")
    read = torch.from_numpy(saved.tokens.astype("int64"))
    read[:, 0] = 1  # llama-perplexity lets each window begin with the BOS
    with torch.inference_mode():
        logits = transformers.AutoModelForCausalLM.from_pretrained(model)(input_ids=read).logits[:, 32:-1]
    save_logits(work / "by_transformers", saved.tokens, 320, (window.numpy() for window in logits))
    return float(compare(open_logits(work / "by_transformers"), saved).kld.mean())


def test_llama_cpp_computes_what_peft_does(made: Made, tmp_path: Path, llama_perplexity: Path) -> None:
    """The base with the moved adapter, run by llama.cpp, is the original model with B A added by PEFT's formula."""
    wanted = merged(made.model, made.peft, tmp_path / "merged", scale=2.0)
    kernels = HostKernels("host-native", "host-native", llama_perplexity)
    adapted = replace(kernels, adapters={made.base: made.adapter.path})
    assert divergence(made, wanted, adapted, tmp_path) < 1e-4
    assert divergence(made, wanted, kernels, tmp_path) > 0.1, "the adapter changes much"
    assert divergence(made, made.model, kernels, tmp_path) < 1e-4


def test_the_proof_fails_for_an_adapter_that_was_not_moved(
    made: Made, tmp_path: Path, llama_cpp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "move", lambda _name, added, _changes: added)
    with pytest.raises(SmoothdroidError, match=r"not the same function: a logit differs by .*Nothing was written"):
        make(made.peft, made.base, tmp_path / "lora.gguf", llama_cpp)
    assert list(tmp_path.iterdir()) == []


def test_what_is_written(made: Made) -> None:
    manifest = made.adapter.manifest
    assert manifest.sha256 == sha256_of(made.adapter.path)
    assert manifest.size_bytes == made.adapter.path.stat().st_size
    assert manifest.base_sha256 == sha256_of(made.base)
    assert manifest.source.files_sha256.keys() == {"adapter_config.json", "adapter_model.safetensors"}
    assert 0 < manifest.equivalence.max_abs_logit_difference < 3e-5 * manifest.equivalence.logit_range
    assert json.loads(manifest_path(made.adapter.path).read_text()) == manifest.model_dump(mode="json")
    inside = read_binding(made.adapter.path)
    assert inside == AdapterBinding(**{name: getattr(manifest, name) for name in AdapterBinding.model_fields})
    names = {tensor.name for tensor in GGUFReader(made.adapter.path).tensors}
    assert names == {
        f"blk.{layer}.{linear}.weight.lora_{part}"
        for layer in (0, 1)
        for linear in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
        for part in "ab"
    }


def test_ranks_alphas_and_rslora(made: Made, tmp_path: Path, llama_cpp: Path) -> None:
    """rsLoRA's factor is alpha / sqrt(rank), and a module may have a rank and an alpha of its own."""
    module = "model.layers.1.mlp.up_proj"
    settings: dict[str, Any] = {
        "use_rslora": True,
        "rank_pattern": {"layers.1.mlp.up_proj": 16},
        "alpha_pattern": {module: 2.0},
    }
    peft = write_adapter(tmp_path / "rs", made.model, ranks={module: 16}, **settings)
    written = {
        tensor.name: tensor.data
        for tensor in GGUFReader(make(peft, made.base, tmp_path / "a.gguf", llama_cpp).path).tensors
    }
    plain = {tensor.name: tensor.data for tensor in GGUFReader(made.adapter.path).tensors}
    assert written["blk.1.ffn_up.weight.lora_a"].shape == (16, 64)
    adapter = open_adapter(peft, open_checkpoint(made.model))
    stored = load_file(peft / "adapter_model.safetensors")
    for name, factor in ((module, 2.0 / 4), ("model.layers.0.self_attn.q_proj", 8 / 2)):
        b = stored[f"base_model.model.{name}.lora_B.weight"]
        assert torch.allclose(adapter.modules[name].b, factor * b)
    assert plain["blk.0.attn_q.weight.lora_a"].shape == (4, 64)


@pytest.mark.parametrize("architecture", ["MixtralForCausalLM", "GemmaForCausalLM"])
def test_other_architectures(architecture: str, tmp_path: Path, prose: Path, llama_cpp: Path) -> None:
    """Experts, whose attention is adapted, and norms that are stored less one; on a Q8_0 base."""
    model = write_tiny_model(tmp_path / "tiny", architecture, tied=True, config={"attention_bias": False})
    if architecture == "GemmaForCausalLM":
        sentencepiece(model)  # the only tokenizer that llama.cpp's converter takes of it
    settings = PrepareSettings(n_samples=4, seq_len=32, calib=prose, folds="norm,up-down,v-o")
    (base,) = prepare(model, tmp_path / "out", settings, llama_cpp=llama_cpp, llama_cpp_id="b1")
    proof = make(
        write_adapter(tmp_path / "lora", model), base.path, tmp_path / "a.gguf", llama_cpp
    ).manifest.equivalence
    assert proof.max_abs_logit_difference < 3e-5 * proof.logit_range


def test_a_plain_base_takes_the_adapter_as_it_is(made: Made, tmp_path: Path, prose: Path, llama_cpp: Path) -> None:
    settings = PrepareSettings(smooth=False, plain=True)
    (base,) = prepare(made.model, tmp_path / "out", settings, llama_cpp=llama_cpp, llama_cpp_id="b1")
    adapter = make(made.peft, base.path, tmp_path / "plain.gguf", llama_cpp)
    written = {tensor.name: tensor.data for tensor in GGUFReader(adapter.path).tensors}
    stored = load_file(made.peft / "adapter_model.safetensors")
    a = stored["base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"]
    assert torch.equal(torch.from_numpy(written["blk.0.ffn_up.weight.lora_a"].copy()), a)


def test_a_base_that_is_not_known(made: Made, tmp_path: Path, llama_cpp: Path) -> None:
    base = Path(shutil.copy(made.base, tmp_path))
    with pytest.raises(BadInput, match=r"\.gguf\.changes: there is no such file.*prepare it again"):
        make(made.peft, base, tmp_path / "a.gguf", llama_cpp)
    changes = Path(shutil.copy(changes_path(made.base), tmp_path))
    changes.write_bytes(changes.read_bytes()[:-4])
    with pytest.raises(BadInput, match=r"belongs to another preparation than .*or is damaged"):
        make(made.peft, base, tmp_path / "a.gguf", llama_cpp)
    other = write_llama(tmp_path / "other.gguf")
    with pytest.raises(BadInput, match=r"not made by smoothdroid prepare"):
        make(made.peft, other, tmp_path / "a.gguf", llama_cpp)
    with pytest.raises(BadInput, match=r"name the adapter's file, which ends with \.gguf"):
        make(made.peft, made.base, tmp_path / "a.bin", llama_cpp)


def test_an_adapter_on_another_base_is_refused(made: Made, tmp_path: Path) -> None:
    require_base(made.adapter.path, made.base, sha256_of(made.base))
    with pytest.raises(BadInput, match=r"was made for tiny-smooth-f32\.gguf with .*on another base it gives garbage"):
        require_base(made.adapter.path, tmp_path / "other.gguf", "0" * 64)
    with pytest.raises(BadInput, match=r"this GGUF is no adapter"):
        read_binding(made.base)
