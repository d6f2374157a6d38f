"""What a cell takes: against the arithmetic by hand, and against what the real llama-bench says and takes."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFWriter

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.bench.memory import MB, check, check_plan, needed
from smoothdroid.host.bench.plan import make
from smoothdroid.host.bench.request import Request
from smoothdroid.host.gguf.artifact import Artifact, inspect
from smoothdroid.host.gguf.memory_shape import Shape
from smoothdroid.host.llamacpp import compile as compiler
from smoothdroid.host.llamacpp import source, variants
from smoothdroid.host.results.plan import Plan
from tests.host.fakes import model as fake
from tests.host.fakes import phone

VOCABULARY = 512
LAYERS = 4

Shapes = Mapping[str, tuple[int, ...]]

LLAMA = {
    "attn_norm": (256,),
    "attn_q": (512, 256),
    "attn_k": (256, 256),
    "attn_v": (256, 256),
    "attn_output": (256, 512),
    "ffn_norm": (256,),
    "ffn_gate": (384, 256),
    "ffn_up": (384, 256),
    "ffn_down": (256, 384),
}
GEMMA = LLAMA | {
    "attn_q_norm": (64,),
    "attn_k_norm": (64,),
    "post_attention_norm": (256,),
    "post_ffw_norm": (256,),
}
# Q, K and V in one: 4 heads, and twice 2.
PHI = {name: LLAMA[name] for name in ("attn_norm", "ffn_norm", "ffn_down")} | {
    "attn_qkv": (256 + 128 + 128, 256),
    "attn_output": (256, 256),
    "ffn_up": (768, 256),
}
METADATA: dict[str, Any] = {
    "block_count": LAYERS,
    "context_length": 4096,
    "embedding_length": 256,
    "feed_forward_length": 384,
    "vocab_size": VOCABULARY,
    "attention.head_count": 8,
    "attention.head_count_kv": 4,
    "attention.key_length": 64,
    "attention.value_length": 64,
    "attention.layer_norm_rms_epsilon": 1e-5,
    "rope.dimension_count": 64,
    "rope.freq_base": 10000.0,
}


def write(
    path: Path,
    architecture: str = "llama",
    layer: Shapes = LLAMA,
    more: Shapes | None = None,
    layers: int = LAYERS,
    **changes: Any,
) -> Path:
    """A GGUF that llama.cpp loads; in `changes`, a double underscore stands for a dot, and None leaves a key out."""
    writer = GGUFWriter(path, architecture)
    facts = METADATA | {name.replace("__", "."): value for name, value in changes.items()}
    for name, value in facts.items():
        key = f"{architecture}.{name}"
        if isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            (writer.add_uint32 if 0 <= value < 2**32 else writer.add_int64)(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        elif value is not None:
            writer.add_array(key, value)
    writer.add_tokenizer_model("no_vocab")
    shapes = {"token_embd.weight": (VOCABULARY, 256), "output_norm.weight": (256,)}
    shapes |= {f"blk.{n}.{name}.weight": shape for n in range(layers) for name, shape in layer.items()}
    for name, shape in (shapes | dict(more or {})).items():
        writer.add_tensor(name, np.full(shape, 0.01, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def phi(path: Path, **changes: Any) -> Path:
    return write(path, "phi3", PHI, **{"attention__head_count": 4, "attention__head_count_kv": 2} | changes)


def shape_of(path: Path) -> Shape:
    shape = inspect(path).shape
    assert shape
    return shape


# --- against llama-bench ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def llama_bench() -> Path:
    built = compiler.find([variants.find("host", "native")], source.pinned())
    if built is None:
        pytest.fail("these tests run llama-bench: `smoothdroid build --abi host`")
    return built.tool("llama-bench")


@dataclass(frozen=True)
class Taken:
    """What a run of llama-bench said, and took, in MiB."""

    weights: float
    cache: float
    resident: float


MEASURE = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""


def run(llama_bench: Path, path: Path, *options: str) -> Taken:
    # A child's peak begins at its parent's, so the parent is a small one, and not this process.
    argv = [sys.executable, "-c", MEASURE, str(llama_bench), "-m", str(path), "-v", "-r", "1", "-t", "1", *options]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    log = done.stderr
    assert done.returncode == 0, log[-2000:]

    def said(what: str) -> float:
        return sum(float(mb) for mb in re.findall(rf"{what} buffer size = +([\d.]+) MiB", log))

    return Taken(said("(?:CPU|CPU_Mapped) model"), said("KV"), int(done.stdout) / 1024)


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        (["-p", "16", "-n", "0"], {"tokens": 16, "at_once": 16}),
        (["-p", "0", "-n", "16"], {"tokens": 16}),
        (["-p", "512", "-n", "0"], {"tokens": 512, "at_once": 512}),
        (["-p", "513", "-n", "0"], {"tokens": 513, "at_once": 513}),
        (["-p", "16", "-n", "0", "-d", "1000"], {"tokens": 1016, "at_once": 1000, "depth": 1000}),
        (["-p", "16", "-n", "0", "-ctk", "q8_0", "-ctv", "q4_0"], {"tokens": 16, "cache_k": "q8_0", "cache_v": "q4_0"}),
        (["-p", "16", "-n", "0", "-ctk", "bf16", "-ctv", "bf16"], {"tokens": 16, "cache_k": "bf16", "cache_v": "bf16"}),
        (["-p", "16", "-n", "0", "-ctk", "q5_1", "-ctv", "q5_0"], {"tokens": 16, "cache_k": "q5_1", "cache_v": "q5_0"}),
        (
            ["-p", "16", "-n", "0", "-ctk", "iq4_nl", "-ctv", "q4_1"],
            {"tokens": 16, "cache_k": "iq4_nl", "cache_v": "q4_1"},
        ),
    ],
)
def test_the_cache_is_what_llama_bench_allocates(
    llama_bench: Path, tmp_path: Path, options: list[str], asked: dict[str, Any]
) -> None:
    path = write(tmp_path / "llama.gguf")
    taken, needs = run(llama_bench, path, *options), needed(inspect(path), **asked)
    assert needs
    assert needs.cache / MB == pytest.approx(taken.cache, abs=0.006)
    assert needs.total / MB < taken.resident


@pytest.mark.parametrize("tokens", [256, 1024, 3000])
def test_other_kinds_of_layers(llama_bench: Path, tmp_path: Path, tokens: int) -> None:
    models = {
        "fused": phi(tmp_path / "phi.gguf"),
        "some windows": write(
            tmp_path / "gemma.gguf",
            "gemma3",
            GEMMA,
            attention__sliding_window=300,
            attention__sliding_window_pattern=[True, True, False, True],
        ),
        "each third": write(
            tmp_path / "third.gguf", "gemma3", GEMMA, attention__sliding_window=300, attention__sliding_window_pattern=3
        ),
    }
    for name, path in models.items():
        for ubatch in (32, 512):
            taken = run(llama_bench, path, "-p", str(tokens), "-n", "0", "--no-warmup", "-ub", str(ubatch))
            needs = needed(inspect(path), tokens, at_once=tokens, ubatch=ubatch)
            assert needs
            assert needs.cache / MB == pytest.approx(taken.cache, abs=0.012), (name, ubatch)


def test_where_no_one_says_which_layers_have_a_window_all_may(llama_bench: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "gemma.gguf", "gemma3", GEMMA, layers=6, block_count=6, attention__sliding_window=300)
    needs = needed(inspect(path), 3000, at_once=3000)
    taken = run(llama_bench, path, "-p", "3000", "-n", "0", "--no-warmup")
    assert needs
    assert needs.cache == 6 * 2 * 256 * 2 * 1024
    assert needs.cache / MB < taken.cache


def test_a_depth_takes_the_cache_twice(llama_bench: Path, tmp_path: Path) -> None:
    wide = LLAMA | {"attn_k": (512, 256), "attn_v": (512, 256)}
    path = write(tmp_path / "wide.gguf", layer=wide, layers=8, block_count=8, attention__head_count_kv=8)
    flat = run(llama_bench, path, "-p", "16", "-n", "0")
    deep = run(llama_bench, path, "-p", "16", "-n", "0", "-d", "2000")
    before = needed(inspect(path), 16, at_once=16)
    after = needed(inspect(path), 2016, at_once=2000, depth=2000)
    assert before
    assert after
    more = (after.total - before.total) / MB
    assert more > 58  # 28 of the cache, 31 of the copy
    assert 0.75 * (deep.resident - flat.resident) < more < 1.02 * (deep.resident - flat.resident)


# --- by hand ------------------------------------------------------------------------------------------------


def seven_billion(**changes: Any) -> Artifact:
    """Llama-2-7B as Q8_0."""
    shape = Shape(weights_bytes=7_160_000_000, layers=32, keys=32 * 4096, values=32 * 4096, hidden=2 * 11008)
    return fake("llama2-7b-q8_0").model_copy(update={"shape": shape.model_copy(update=changes)})


def test_shows_the_arithmetic_of_what_cannot_fit() -> None:
    needs = needed(seven_billion(), 512 + 8192, depth=8192, at_once=8192)
    assert needs
    with pytest.raises(BadInput) as refused:
        check("llama2-7b-q8_0, pp512 at depth 8192", needs, 5325)
    assert str(refused.value) == (
        "llama2-7b-q8_0, pp512 at depth 8192: needs at least 6.67 GiB of weights + 4.25 GiB of KV cache (8704 tokens, "
        "f16) + 4.00 GiB of its copy at the depth + 0.04 GiB to compute = 14.96 GiB, the phone has 5.20 GiB available. "
        "Close other apps on it, take a smaller model or context, a smaller KV type, or use --force to try"
    )


def test_what_fits_is_not_refused() -> None:
    needs = needed(seven_billion(), 512, at_once=512)
    assert needs
    check("it", needs, -(-needs.total // MB))
    with pytest.raises(BadInput, match="take a smaller model or context, or use --force"):
        check("it", needs, needs.total // MB)


def test_the_types_of_keys_and_values_are_told() -> None:
    assert "(256 tokens, q8_0/f16)" in str(needed(seven_billion(), 1, cache_k="q8_0"))
    assert "(256 tokens, q8_0)" in str(needed(seven_billion(), 1, cache_k="q8_0", cache_v="q8_0"))
    with pytest.raises(BadInput, match="`q9_9` is not a type"):
        needed(seven_billion(), 1, cache_k="q9_9")


def planned(*models: Artifact, **changes: Any) -> Plan:
    asked = Request(threads="4", prompt="512", generate="128").model_copy(update=changes)
    return make(models, asked, phone())


def test_a_plan_that_cannot_fit_names_the_first_cell_and_how_many_there_are() -> None:
    small = planned(seven_billion())
    check_plan(small, 16_000)
    deep = planned(seven_billion(), depth="0,8192")
    with pytest.raises(BadInput, match=r"^llama.*, pp512, depth 8192: needs at least .*\(2 of 4 cells do not fit\)$"):
        check_plan(deep, 10_000)
    check_plan(planned(seven_billion(), depth="0,8192", cache_k="q4_0", cache_v="q4_0"), 10_000)


def test_a_prompt_is_as_long_as_its_bytes() -> None:
    asked = planned(seven_billion(), prompt="0", ask=["x" * 40_000])
    check_plan(planned(seven_billion(), prompt="0", ask=["x"]), 8_000)
    with pytest.raises(BadInput, match="tokens, f16"):
        check_plan(asked, 8_000)


def test_an_older_record_is_not_judged() -> None:
    assert needed(fake("old"), 512) is None


def test_what_is_computed_at_once_is_no_more_than_a_batch() -> None:
    small, large = needed(seven_billion(), 4096, at_once=4096, ubatch=64), needed(seven_billion(), 4096, at_once=4096)
    assert small
    assert large
    assert (small.compute, large.compute) == (4 * 64 * 22016, 4 * 512 * 22016)


# --- what a GGUF says ---------------------------------------------------------------------------------------


def test_the_shape_of_a_model(tmp_path: Path) -> None:
    head = {"output.weight": (VOCABULARY, 256)}
    tied, untied = write(tmp_path / "tied.gguf"), write(tmp_path / "untied.gguf", more=head)
    layer = 4 * sum(int(np.prod(shape)) for shape in LLAMA.values())
    matrices = LAYERS * sum(int(np.prod(shape)) for shape in LLAMA.values() if len(shape) == 2)
    expected = Shape(
        weights_bytes=LAYERS * layer + 4 * 256 * (VOCABULARY + 1),
        layers=LAYERS,
        keys=LAYERS * 256,
        values=LAYERS * 256,
        hidden=768,
        multiplied=matrices,
        multiplied_bytes=4 * matrices,
    )
    assert shape_of(tied) == expected
    assert shape_of(untied) == expected  # its embedding is read row by row


def test_what_prefill_multiplies_is_not_known_of_a_mixture_of_experts(tmp_path: Path) -> None:
    experts = {"blk.0.ffn_gate_exps.weight": (4, 384, 256)}
    assert shape_of(write(tmp_path / "moe.gguf", more=experts)).multiplied is None


def test_layers_without_keys_and_values_do_not_count(tmp_path: Path) -> None:
    recurrent = {"blk.4.attn_qkv.weight": (1024, 256), "blk.4.ssm_out.weight": (256, 256)}
    assert shape_of(write(tmp_path / "hybrid.gguf", "qwen3next", more=recurrent, block_count=5)).layers == LAYERS
    convolution = {"blk.4.ffn_up.weight": (384, 256)}
    assert shape_of(write(tmp_path / "lfm2.gguf", "lfm2", more=convolution, block_count=5)).layers == LAYERS
    assert shape_of(write(tmp_path / "shared.gguf", "gemma4", attention__shared_kv_layers=3)).layers == 1
    assert shape_of(write(tmp_path / "bert.gguf", "bert", attention__causal=False)).layers == 0
    assert shape_of(write(tmp_path / "dream.gguf", "dream")).layers == 0
    guessing = shape_of(write(tmp_path / "mtp.gguf", "glm4moe", nextn_predict_layers=1))
    assert guessing.layers == 3
    assert guessing.weights_bytes < shape_of(write(tmp_path / "trunk.gguf", "glm4moe")).weights_bytes


def test_a_latent_cache_has_keys_only(tmp_path: Path) -> None:
    latent = {name: shape for name, shape in LLAMA.items() if name not in ("attn_k", "attn_v")} | {
        "attn_kv_a_mqa": (576, 256)
    }
    shape = shape_of(write(tmp_path / "mla.gguf", "deepseek2", latent, attention__key_length_mla=192))
    assert (shape.keys, shape.values) == (LAYERS * 576, 0)
    assert shape_of(write(tmp_path / "old.gguf", "deepseek2", latent)).keys == 0  # nobody knows


def test_fused_widths_that_contradict_the_metadata_count_as_nothing(tmp_path: Path) -> None:
    path = tmp_path / "phi.gguf"
    assert shape_of(phi(path)).keys == LAYERS * 128
    assert shape_of(phi(path, attention__head_count_kv=[2, 2, 0, 2])).keys == 3 * 128
    assert shape_of(phi(path, attention__head_count_kv=[2])).keys == 128
    assert shape_of(phi(path, attention__head_count_kv=3)).keys == 0
    assert shape_of(phi(path, attention__head_count=0)).keys == 0
    assert shape_of(phi(path, attention__head_count=None)).keys == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"block_count": -1},
        {"block_count": 2**40},
        {"block_count": "many"},
        {"block_count": True},
        {"block_count": 1.5},
        {"block_count": [4]},
        {"nextn_predict_layers": -5},
        {"attention__sliding_window": -1},
        {"attention__sliding_window": "wide"},
        {"attention__sliding_window": 300, "attention__sliding_window_pattern": ["a"]},
        {"attention__shared_kv_layers": 2**33},
    ],
)
def test_a_count_that_is_none_is_bad_input(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"damaged \(.*which is no count\)"):
        inspect(write(tmp_path / "hostile.gguf", **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"attention__head_count": 2**31 - 1},
        {"attention__head_count_kv": [2**31 - 1] * 9},
        {"attention__key_length": 2**31 - 1},
        {"embedding_length": 2**31 - 1},
        {"attention__sliding_window": 2**31 - 1},
        {"attention__sliding_window": 300, "attention__sliding_window_pattern": 2**31 - 1},
        {"attention__sliding_window": 300, "attention__sliding_window_pattern": [True]},
    ],
)
@pytest.mark.parametrize("layer", [LLAMA, PHI])
def test_absurd_counts_ask_for_no_more_than_the_tensors_hold(
    tmp_path: Path, changes: dict[str, Any], layer: Shapes
) -> None:
    needs = needed(inspect(write(tmp_path / "absurd.gguf", layer=layer, **changes)), 4096, depth=4000, at_once=4000)
    assert needs
    assert needs.cache <= LAYERS * 2 * 256 * 2 * 4096


def test_no_layer_is_left_where_all_are_said_to_be_shared(tmp_path: Path) -> None:
    assert shape_of(write(tmp_path / "none.gguf", attention__shared_kv_layers=2**31 - 1)).layers == 0
    assert shape_of(write(tmp_path / "idle.gguf", nextn_predict_layers=2**31 - 1)).weights_bytes > 0
