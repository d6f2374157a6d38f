from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.gguf import artifact
from smoothdroid.host.llamacpp import compile as compiler
from smoothdroid.host.llamacpp import source, variants
from smoothdroid.host.model.arithmetic import arithmetic_of
from smoothdroid.host.model.convert.conversion import to_gguf
from smoothdroid.host.model.evaluate.emulated_kernels import EmulatedKernels
from smoothdroid.host.model.evaluate.evaluator import evaluate
from smoothdroid.host.model.evaluate.logits import SavedLogits, compare, open_logits
from smoothdroid.host.model.evaluate.perplexity import HostKernels, PerplexityTask
from smoothdroid.host.model.texts.prose import Prose, evaluation_prose
from tests.host.tiny_gguf import BF16, F16, F32, Q4_0, Q8_0, VOCABULARY, write_llama

TEXT = Prose("prose.txt", "".join(f"pack my box with {chr(97 + n % 26) * 4} dozen liquor jugs. " for n in range(99)))
SIZES: dict[str, Any] = {"context": 128, "windows": 4}


@pytest.fixture(scope="module")
def host() -> HostKernels:
    """The real llama-perplexity of this machine."""
    built = compiler.find([variants.find("host", "native")], source.pinned())
    if built is None:
        pytest.fail("these tests run llama-perplexity: `smoothdroid build --abi host`")
    return HostKernels("host-native", "host-native", built.tool("llama-perplexity"))


@pytest.fixture
def task(tmp_path: Path) -> PerplexityTask:
    text = tmp_path / "text.txt"
    text.write_text(TEXT.content)
    return PerplexityTask(text, "text", vocabulary=VOCABULARY, **SIZES)


def both(gguf: Path, host: HostKernels, task: PerplexityTask) -> tuple[SavedLogits, SavedLogits]:
    """Predict with the real kernels of this machine, and with the emulated ones."""
    host.save_logits(gguf, task, gguf.with_suffix(".real"))
    real = open_logits(gguf.with_suffix(".real"))
    return real, emulate(gguf, task, real, "ggml")


def emulate(gguf: Path, task: PerplexityTask, real: SavedLogits, kernel: str) -> SavedLogits:
    saved = gguf.with_suffix(f".{kernel}")
    EmulatedKernels(arithmetic_of(kernel)).save_logits(gguf, replace(task, tokens=real.tokens), saved)
    return open_logits(saved)


@pytest.mark.parametrize(
    "made",
    [
        {},
        {"architecture": "qwen2"},
        {"architecture": "qwen3"},
        {"tied": True, "rope_factors": True},
        {"settings": {"rope.freq_base": 500.0}},
        {"kind": F16},
        {"kind": BF16},
    ],
    ids=str,
)
def test_is_the_network_that_llama_cpp_runs(
    made: dict[str, Any], host: HostKernels, task: PerplexityTask, tmp_path: Path
) -> None:
    """Without quantisation nothing is left but the order of sums."""
    real, emulated = both(write_llama(tmp_path / "x.gguf", **made), host, task)
    found = compare(real, emulated)
    assert np.abs(found.kld).max() < 2e-5
    assert found.same_top.mean() > 0.98


@pytest.mark.parametrize("made", [{}, {"architecture": "qwen3"}, {"tied": True}], ids=str)
@pytest.mark.parametrize("kind", [Q8_0, Q4_0])
def test_ggml_emulated_is_ggml(
    kind: Any, made: dict[str, Any], host: HostKernels, task: PerplexityTask, tmp_path: Path
) -> None:
    """Token by token. (Two layers are too few for a rounding that falls the other way to spread.)"""
    exact, _ = both(write_llama(tmp_path / "exact.gguf", **made), host, task)
    real, emulated = both(write_llama(tmp_path / "x.gguf", kind, **made), host, task)
    assert compare(real, emulated).kld.mean() < compare(exact, real).kld.mean() / 20


def test_a_trained_model_is_as_far_under_ggml_emulated_as_under_ggml_and_further_under_kleidiai(
    sample: Path, llama_cpp: Path, llama_quantize: Path, host: HostKernels, tmp_path: Path
) -> None:
    """In the mean. Token by token the two differ as much as either does from the reference, and so do two emulated
    runs whose embeddings differ by 1e-7: through 30 layers one rounding that falls the other way becomes many."""
    text = tmp_path / "text.txt"
    text.write_text(evaluation_prose(None).content)
    task = PerplexityTask(text, "text", context=128, windows=4, vocabulary=49152)
    to_gguf(sample, tmp_path / "f32.gguf", "f32", llama_cpp, name="x", log=tmp_path / "log")
    quantise: list[str | Path] = [llama_quantize, "--pure", tmp_path / "f32.gguf", tmp_path / "q8_0.gguf", "q8_0"]
    subprocess.run(quantise, check=True, capture_output=True)
    exact, exact_emulated = both(tmp_path / "f32.gguf", host, task)
    real, emulated = both(tmp_path / "q8_0.gguf", host, task)
    assert compare(exact, exact_emulated).kld.mean() < 1e-5
    on_ggml = compare(exact, real).kld.mean()
    assert 0.7 < compare(exact, emulated).kld.mean() / on_ggml < 1.4
    on_kleidiai = emulate(tmp_path / "q8_0.gguf", task, real, "kleidiai")
    assert 3 < compare(exact, on_kleidiai).kld.mean() / on_ggml < 9  # the real ones: 0.0219 to 0.00449


def test_evaluate_runs_the_reference_on_real_kernels(host: HostKernels, tmp_path: Path) -> None:
    models = [artifact.inspect(write_llama(tmp_path / f"{kind.name}.gguf", kind)) for kind in (F32, Q8_0)]
    reports: list[tuple[str, int, int]] = []
    found = evaluate(
        models[0],
        models[1:],
        TEXT,
        EmulatedKernels(arithmetic_of("kleidiai")),
        reference_kernels=host,
        logits_cache=tmp_path / "cache",
        on_progress=lambda *progress: reports.append(progress),
        **SIZES,
    )
    assert (found.kernels, found.reference_kernels) == ("kleidiai, emulated", "host-native")
    assert np.mean(found.candidates[0].kld) > 1e-4
    assert ("Q8_0: predicting", 6, 6) in reports  # two layers, four windows
    on_ggml = found.model_copy(update={"kernels_id": EmulatedKernels(arithmetic_of("ggml")).id})
    elsewhere = found.model_copy(update={"reference_kernels_id": "another binary"})
    assert len({found.id, on_ggml.id, elsewhere.id}) == 3


def test_what_is_in_no_kernels_power(task: PerplexityTask, tmp_path: Path) -> None:
    kernels, gguf = EmulatedKernels(arithmetic_of("ggml")), write_llama(tmp_path / "x.gguf")
    with pytest.raises(ValueError, match="tokens are not known"):
        kernels.save_logits(gguf, task, tmp_path / "logits")
    other = replace(task, tokens=np.zeros((4, 128), np.int32), vocabulary=VOCABULARY + 1)
    with pytest.raises(BadInput, match=rf"has {VOCABULARY} rows, and its vocabulary {VOCABULARY + 1} tokens"):
        kernels.save_logits(gguf, other, tmp_path / "logits")
