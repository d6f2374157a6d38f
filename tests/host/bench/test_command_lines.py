from __future__ import annotations

from typing import Any

import pytest

from smoothdroid.host.bench.command_lines import check, command_line
from smoothdroid.host.llamacpp.kernel_log import Kernels
from smoothdroid.host.llamacpp.settings import Options
from smoothdroid.host.llamacpp.tool_output import BenchRecord, NoNumber
from smoothdroid.host.results.cell import Cell, Protocol, Test
from tests.host.fakes import record

OPTIONS = Options(depth=64, batch=32, ubatch=16, cache_k="q8_0", cache_v="q4_0", flash_attention="on", mmap="off")
CELL = Cell(
    model="a", model_sha256="0", test=Test(n_prompt=512), threads=4, options=OPTIONS, protocol=Protocol(repetitions=3)
)
PLAIN = CELL.model_copy(update={"options": Options()})
TOLD = {"n_depth": 64, "n_batch": 32, "n_ubatch": 16, "type_k": "q8_0", "type_v": "q4_0", "load_mode": "none"}
ATTENTION = Kernels(flash_attention=True)


def told(**changes: Any) -> BenchRecord:
    return record(4, CELL.test, [1.0, 1.0, 1.0]).model_copy(update={**TOLD, **changes})


def test_what_was_asked_for_is_accepted() -> None:
    assert check([told()], CELL, ATTENTION) == told()
    assert check([told(n_depth=0)], PLAIN, Kernels()), "what is left to llama.cpp may be anything"
    longer = told(samples_ts=[1.0] * 5, samples_ns=[1] * 5)
    assert check([longer], CELL, ATTENTION) == longer, "three would have been over too soon"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"n_threads": 3}, "threads 4, it ran 3"),
        ({"n_prompt": 511}, "prompt 512, it ran 511"),
        ({"n_depth": 0}, "depth 64, it ran 0"),
        ({"n_batch": 2048}, "batch 32, it ran 2048"),
        ({"n_ubatch": 512}, "ubatch 16, it ran 512"),
        ({"type_k": "f16"}, "cache k q8_0, it ran f16"),
        ({"type_v": "f16"}, "cache v q4_0, it ran f16"),
        ({"load_mode": "mmap"}, "mmap off, it ran on"),
        ({"load_mode": "dio"}, "mmap off, it ran dio"),
        ({"samples_ts": [1.0]}, "repetitions 3, it ran 1"),
    ],
)
def test_what_was_not_asked_for_is_no_measurement(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(NoNumber, match=says):
        check([told(**changes)], CELL, ATTENTION)


def test_what_its_log_says_counts_too() -> None:
    with pytest.raises(NoNumber, match="flash attention on, it ran off"):
        check([told()], CELL, Kernels(flash_attention=False))
    with pytest.raises(NoNumber, match="records 1, it ran 2"):
        check([told(), told()], CELL, ATTENTION)


def test_an_old_version_that_tells_less_is_believed() -> None:
    assert check([told(type_k=None, type_v=None, load_mode=None)], CELL, Kernels())


def test_a_prompt_reaches_its_tool_as_it_is() -> None:
    text = "$(id) `ls` 'x' \"y\"\n-rf"
    argv = command_line("tool", "model", CELL.model_copy(update={"test": Test(prompt=text, n_gen=8)}), 1)
    assert argv[argv.index("-p") + 1] == text
    assert argv[argv.index("-ctk") + 1] == "q8_0"
    assert "--no-mmap" in argv
    assert "--ignore-eos" in argv, "the answer is as long as was asked for"


def test_a_setting_left_to_llama_cpp_is_not_passed_on() -> None:
    argv = command_line("tool", "model", PLAIN, 5)
    assert not {"-d", "-b", "-ub", "-ctk", "-ctv", "-fa", "-lm"} & set(argv)
    assert argv[argv.index("-r") + 1] == "5"
