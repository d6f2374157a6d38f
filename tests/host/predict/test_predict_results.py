from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from smoothdroid.device.info import socs
from smoothdroid.host.gguf.artifact import Header
from smoothdroid.host.gguf.memory_shape import Shape
from smoothdroid.host.llamacpp.settings import Options
from smoothdroid.host.predict import roofline, work
from smoothdroid.host.predict.efficiency import fitted
from smoothdroid.host.predict.results import measured_against
from smoothdroid.host.results.cell import Cell, Protocol, Test

LLAMA = work.of("llama-2-7b")
SHAPE = Shape(
    weights_bytes=LLAMA.weights_bytes,
    layers=32,
    keys=32 * 4096,
    values=32 * 4096,
    hidden=2 * 11008,
    multiplied=LLAMA.multiplied,
    multiplied_bytes=(LLAMA.multiplied or 0) * 34 // 32,
)
MODEL = Header(
    path=Path("llama.gguf"),
    name="llama",
    size_bytes=7_160_000_000,
    architecture="llama",
    parameters=6_738_415_616,
    bits_per_weight=8.5,
    decode_bytes=LLAMA.weights_bytes,
    shape=SHAPE,
)


def cell(test: Test, options: Options | None = None) -> Cell:
    return Cell(
        model="llama",
        model_sha256="0" * 64,
        test=test,
        threads=4,
        options=options or Options(),
        protocol=Protocol(repetitions=3),
    )


def test_a_measured_cell_is_held_against_what_is_predicted() -> None:
    decode = measured_against(4.0, cell(Test(n_gen=128)), MODEL, "SM8550-AC")
    prefill = measured_against(20.0, cell(Test(n_prompt=512)), MODEL, "SM8550")
    assert decode is not None
    assert prefill is not None
    soc = socs.find("SM8550")
    assert soc is not None
    found = roofline.predict(LLAMA, soc, fitted())
    assert (decode.expected, prefill.expected) == (found.decode, found.prefill)
    assert decode.verdict == prefill.verdict == "as predicted"


def test_the_cache_counts_where_its_bytes_are_known() -> None:
    def ceiling(options: Options) -> float:
        found = measured_against(4.0, cell(Test(n_gen=128), options), MODEL, "SM8550")
        assert found is not None
        return found.expected.ceiling

    assert ceiling(Options(depth=4096)) < ceiling(Options()) == ceiling(Options(depth=4096, cache_k="q8_0"))


@pytest.mark.parametrize(
    ("test", "options", "changes", "soc"),
    [
        (Test(n_gen=8), Options(), {}, "zuma"),
        (Test(n_gen=8), Options(), {"decode_bytes": None}, "SM8550"),
        (Test(n_gen=8), Options(), {"shape": None}, "SM8550"),
        (Test(n_gen=8, prompt="a question"), Options(), {}, "SM8550"),
        (Test(n_prompt=8, n_gen=8), Options(), {}, "SM8550"),
        (Test(n_prompt=8), Options(depth=512), {}, "SM8550"),
        (Test(n_prompt=8), Options(), {"shape": SHAPE.model_copy(update={"multiplied": None})}, "SM8550"),
        (Test(n_gen=8), Options(), {"decode_bytes": 10_000_000}, "SM8550"),
    ],
)
def test_nothing_is_expected_of_what_is_not_known(
    test: Test, options: Options, changes: dict[str, Any], soc: str
) -> None:
    assert measured_against(4.0, cell(test, options), MODEL.model_copy(update=changes), soc) is None
