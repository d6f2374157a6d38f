"""What llama.cpp says of its kernels. Where the logs come from: tests/data/phones/SOURCES.md."""

from __future__ import annotations

from contextlib import nullcontext as does_not_raise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoothdroid.host.llamacpp.kernel_log import Kernels, parse_kernels

OUTPUTS = Path(__file__).parents[2] / "data/phones/outputs"


def output(name: str) -> str:
    return (OUTPUTS / name).read_text()


REPACKED = output("llama-bench_v_arm64_i8mm_q8_0.txt")
ANSWERED = output("llama-completion_lv4_arm64_i8mm_q8_0.txt")

# The form is that of ggml-cpu.cpp, kleidiai.cpp and ggml-backend-reg.cpp at 0c1e57098; the values are chosen.
KLEIDIAI = """\
load_backend: loaded CPU backend from /data/local/tmp/smoothdroid/store/libggml-cpu-android_armv8.6_1.so
kleidiai: primary q4 kernel feature I8MM
kleidiai: primary q8 kernel feature DOTPROD
kleidiai: no compatible f32 kernels found for CPU features mask 3
kleidiai: SME disabled
load_tensors: loading model tensors, this can take a while... (load_mode = none)
load_tensors:          CPU model buffer size =    28.69 MiB
load_tensors: CPU_KLEIDIAI model buffer size =   107.70 MiB
load_tensors:   CPU_REPACK model buffer size =    17.28 MiB
..repack: repack tensor blk.0.ffn_down.weight with q6_K_8x4
llama_context: constructing llama_context
llama_context: flash_attn            = enabled
"""


def test_a_repacked_model() -> None:
    assert parse_kernels(REPACKED) == Kernels(
        weights_mb={"CPU_Mapped": 135.5, "CPU_REPACK": 136.27},
        layouts={"q8_0_4x8": 211},
        flash_attention=True,
        cache_mb=5.62,
        compute_mb=0.38,
    )
    assert str(parse_kernels(REPACKED)) == "repacked (q8_0_4x8)"
    assert parse_kernels(REPACKED).kleidiai_mb == 0


def test_a_model_of_which_only_the_head_is_repacked() -> None:
    kernels = parse_kernels(output("llama-bench_v_arm64_i8mm_q4_1.txt"))
    assert kernels.layouts == {"q8_0_4x8": 1}
    assert kernels.repack_mb == 28.69


def test_a_model_that_is_not_repacked() -> None:
    kernels = parse_kernels(output("llama-bench_v_host_q8_0.txt"))
    assert (kernels.weights_mb, kernels.repack_mb, kernels.layouts) == ({"CPU_Mapped": 136.4}, 0, {})
    assert str(kernels) == "not repacked"


def test_llama_completion_tells_the_features_too() -> None:
    kernels = parse_kernels(ANSWERED)
    assert kernels.features == ("NEON", "ARM_FMA", "FP16_VA", "MATMUL_INT8", "DOTPROD", "REPACK")
    assert (kernels.repack_mb, kernels.cache_mb, kernels.flash_attention) == (136.27, 5.62, True)
    assert str(kernels) == "repacked"  # the layouts are on a level that llama-completion does not show


def test_a_feature_that_is_off_is_none() -> None:
    assert parse_kernels("system_info: n_threads = 8 / 8 | CPU : NEON = 1 | SVE = 0 | DOTPROD = 1 | \n").features == (
        "NEON",
        "DOTPROD",
    )


def test_kleidiai_and_the_library_that_was_chosen() -> None:
    kernels = parse_kernels(KLEIDIAI)
    assert kernels.backend_library == "libggml-cpu-android_armv8.6_1.so"
    assert (kernels.kleidiai, kernels.kleidiai_mb) == ({"q4": "I8MM", "q8": "DOTPROD"}, 107.7)
    assert str(kernels) == "KleidiAI (q4 I8MM, q8 DOTPROD), repacked (q6_K_8x4)"
    assert parse_kernels(KLEIDIAI.replace("CPU_KLEIDIAI", "CPU_OTHER")).kleidiai_mb == 0  # built in, and not used


def test_a_phone_with_other_backends() -> None:
    kernels = parse_kernels(output("llama-bench_v_htp0_s25.txt"))
    assert kernels.weights_mb == {"CPU_Mapped": 125.19, "CPU_REPACK": 182.57, "HTP0": 0.55, "HTP0-REPACK": 702.84}
    assert (kernels.layouts, kernels.flash_attention) == ({"q6_K_8x8": 1}, False)
    assert (kernels.cache_mb, kernels.compute_mb) == (7.0, 22.67)  # of the second test


def test_the_last_model_and_the_last_context_count() -> None:
    assert parse_kernels(REPACKED + REPACKED) == parse_kernels(REPACKED)
    trial = REPACKED.replace("CPU KV buffer size =     5.62", "CPU KV buffer size =     0.00")
    assert parse_kernels(trial + REPACKED) == parse_kernels(REPACKED)
    context = REPACKED[REPACKED.index("llama_context: constructing") :]
    assert parse_kernels(REPACKED + context) == parse_kernels(REPACKED)


def test_buffers_of_one_name_add_up() -> None:
    line = "load_tensors:   CPU_REPACK model buffer size =   136.27 MiB\n"
    assert parse_kernels(REPACKED.replace(line, line * 3)).repack_mb == 408.81
    line = "llama_kv_cache:        CPU KV buffer size =     5.62 MiB\n"
    assert parse_kernels(REPACKED.replace(line, line * 2)).cache_mb == 11.24


def test_line_ends_do_not_matter() -> None:
    assert parse_kernels(REPACKED.replace("\n", "\r\n")) == parse_kernels(REPACKED)


@pytest.mark.parametrize(
    "log",
    [
        "",
        "llama-bench: error: failed to load model\n",
        "load_tensors:   CPU_REPACK model buffer size =   136.2",
        "load_tensors:   CPU_REPACK model buffer size =   136.27 Mi",
        "load_tensors:   CPU_REPACK model buffer size =   1e9 MiB\n",
        "load_tensors:   CPU_REPACK model buffer size =   -1.00 MiB\n",
        "load_tensors:   CPU_REPACK model buffer size =   ٣.٣٣ MB\n",
        f"load_tensors:   CPU_REPACK model buffer size =   {'9' * 5000}.00 MiB\n",
        f"load_tensors:   {'x' * 5000} model buffer size =   1.00 MiB\n",
        "repack: repack tensor blk.0.attn_q.weight with ",
        "load_backend: loaded CPU backend from \n",
        "load_backend: loaded OpenCL backend from /x/libggml-opencl.so\n",
        "system_info: n_threads = 1 / 2 | CPU : ",
        "\0" * 1000,
    ],
)
def test_what_is_not_told_is_not_known(log: str) -> None:
    assert parse_kernels(log) == Kernels()
    assert (str(Kernels()), Kernels().repack_mb, Kernels().kleidiai_mb) == ("", None, None)


@given(st.integers(0, len(KLEIDIAI)))
def test_a_log_cut_anywhere_tells_less_and_nothing_else(end: int) -> None:
    whole, cut = parse_kernels(KLEIDIAI), parse_kernels(KLEIDIAI[:end])
    assert cut.backend_library in (None, whole.backend_library)
    for told in ("weights_mb", "layouts", "kleidiai"):
        assert getattr(cut, told).items() <= getattr(whole, told).items()
    assert cut.flash_attention in (None, whole.flash_attention)


@given(st.integers(0, len(ANSWERED)))
def test_features_of_a_cut_log_are_those_that_are_there(end: int) -> None:
    whole, cut = parse_kernels(ANSWERED), parse_kernels(ANSWERED[:end])
    assert cut.features == whole.features[: len(cut.features)]
    assert cut.weights_mb.items() <= whole.weights_mb.items()


@pytest.mark.parametrize(
    "piece", ["load_tensors: ", "system_info: ", "CPU : ", "A = 1 | ", "/", "repack: repack tensor "]
)
def test_a_log_of_four_megabytes_of_one_word_is_read(piece: str) -> None:
    with does_not_raise():
        parse_kernels(piece * (2**22 // len(piece)))
