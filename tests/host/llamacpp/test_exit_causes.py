"""Logs of the real tools (commit 0c1e57098, models made wrong on purpose), and of public reports."""

from __future__ import annotations

import pytest

from smoothdroid.device.common.errors import CommandFailed
from smoothdroid.host.llamacpp.exit_causes import MEANINGS, ToolDied, cause, why_it_died

AFTERWARDS = """llama_model_load_from_file_impl: failed to load model
llama_bench: error: failed to load model 'model.gguf'
llama_completion: error: unable to create context
"""
BACKTRACE = "".join(f"#{number} 0x0000007f{number:08x} in ?? () from /lib64/libc.so\n" for number in range(20))
NAMED = [
    # llama.cpp #5910
    "llama_model_load: error loading model: check_tensor_dims: tensor 'blk.0.attn_q.weight' has wrong shape; expected"
    "    64,     0, got    64,    64,     1,     1",
    "llama_model_load: error loading model: check_tensor_dims: tensor 'blk.1.ffn_up.weight' not found",
    "llama_model_load: error loading model: unknown model architecture: 'llamx'",
    "llama_model_load: error loading model: error loading model hyperparameters: invalid n_rot: 16, expected 32",
    "llama_model_load: error loading model: tensor 'blk.0.ffn_down.weight' data is not within the file bounds, model "
    "is corrupted or incomplete",
    "llama_model_load: error loading model: error loading model vocabulary: unknown pre-tokenizer type: 'x'",
    "llama_model_load: error loading model: missing tensor 'token_embd.weight'",
    "gguf_init_from_reader: invalid magic characters: 'hell', expected 'GGUF'",
    "gguf_init_from_file: failed to open GGUF file 'none.gguf' (No such file or directory)",
    "llama_init_from_model: failed to initialize the context: std::bad_alloc",
    "ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 34359738368",
    "/work/ggml/src/ggml.c:1729: GGML_ASSERT(tensor->view_src == NULL) failed",
    "/work/ggml/src/ggml-cpu/ops.cpp:20: fatal error",
    "  what():  std::bad_alloc",
    "libc++abi: terminating due to uncaught exception of type std::out_of_range: vector",
    'CANNOT LINK EXECUTABLE "llama-bench": library "libomp.so" not found',
    "error: invalid argument: --nosuch",
]


@pytest.mark.fault(
    "a tool of llama.cpp fails: an assertion, a wrong tensor shape, an unknown architecture, too little memory",
    transport="any",
    outcome="the cell fails with the line of its log that names the cause, and the others are measured",
)
@pytest.mark.parametrize("line", NAMED)
@pytest.mark.parametrize("time", ["", "0.00.003.072 E "])
def test_the_line_that_names_the_cause_is_found_in_a_long_log(line: str, time: str) -> None:
    log = f"print_info: file type = all F32\n{'load: a line of the log' * 3}\n{time}{line}\n{BACKTRACE}{AFTERWARDS}"
    assert cause(log) == [line.strip()]
    for failed in (
        CommandFailed("phone", ["llama-bench"], 1, stderr=log),
        CommandFailed("phone", ["llama-bench"], 1, stdout=log),
    ):
        assert why_it_died(failed) == f"`llama-bench` ended with status 1: it failed; it printed: {line.strip()}"
        assert str(ToolDied(failed)) == f"phone: `llama-bench` ended with status 1: {line.strip()}"


@pytest.mark.parametrize(
    "harmless",
    [
        "warning: failed to mlock 1024-byte buffer (after previously locking 0 bytes): Cannot allocate memory",
        "common_fit_params: encountered an error while trying to fit params: failed to load model",
        "ggml_opencl: fatal error: no GPU",
    ],
)
def test_what_a_log_says_when_nothing_is_wrong_is_no_cause(harmless: str) -> None:
    assert cause(harmless) == []
    assert cause(f"{harmless}\nGGML_ASSERT(a) failed") == ["GGML_ASSERT(a) failed"]


def test_without_a_cause_the_last_lines_are_told_but_no_frames_of_a_backtrace() -> None:
    log = f"one\ntwo\nthree\nfour\n{BACKTRACE}{AFTERWARDS}"
    failed = CommandFailed("phone", ["llama-bench"], 139, stderr=log)
    assert why_it_died(failed).endswith("crashed (segmentation fault); it printed: two / three / four")
    assert "failed to load model" in why_it_died(CommandFailed("phone", ["x"], 1, stderr=AFTERWARDS))
    assert why_it_died(CommandFailed("phone", ["x"], 1)) == "`x` ended with status 1: it failed"


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (134, "SIGABRT"),
        (135, "SIGBUS"),
        (136, "SIGFPE"),
        (159, "Android's filter for apps"),
        (-6, "SIGABRT"),
        (-31, "Android 8 and 9"),
    ],
)
@pytest.mark.fault(
    "a tool is ended by SIGABRT, SIGBUS, SIGFPE or SIGSYS (a seccomp filter, as in Termux on Android 8 and 9)",
    transport="any",
    outcome="the cell fails with what the signal means and what to do",
)
def test_what_a_death_by_a_signal_means(status: int, says: str) -> None:
    failed = CommandFailed("phone", ["llama-bench"], status)
    assert says in why_it_died(failed)
    assert says in str(ToolDied(failed))
    assert f"ended with status {128 - status if status < 0 else status}: " in why_it_died(failed)
    assert set(MEANINGS) >= {126, 127, 132, 134, 135, 136, 137, 139, 153, 159}


def test_a_line_of_any_length_is_cut() -> None:
    failed = CommandFailed("phone", ["x"], 134, stderr="GGML_ASSERT(" + "a" * 100_000 + ") failed")
    assert len(why_it_died(failed)) < 700


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (1, "it failed"),
        (126, "noexec"),
        (127, "cannot find it"),
        (132, "illegal instruction"),
        (137, "too little memory"),
        (139, "segmentation fault"),
    ],
)
def test_says_what_a_death_means(status: int, says: str) -> None:
    message = why_it_died(CommandFailed("adb:X", ["/a b/llama-bench", "-m", "x"], status, stderr="one\ntwo\n"))
    assert message.startswith(f"`'/a b/llama-bench'` ended with status {status}: ")
    assert says in message
    assert message.endswith("; it printed: one / two")
