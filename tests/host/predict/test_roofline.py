from __future__ import annotations

from dataclasses import replace

import pytest

from smoothdroid.device.info import socs
from smoothdroid.device.info.socs import Soc
from smoothdroid.host.predict import roofline, work
from smoothdroid.host.predict.efficiency import Efficiency, Fitted, fitted
from smoothdroid.host.results.checks import impossible
from smoothdroid.host.results.finding import Measured

SHARES = Fitted(Efficiency(0.4, 0.2, 0.9, 6), Efficiency(0.1, 0.05, 0.3, 6), ())
LLAMA = work.of("llama-2-7b")


def soc(code: str) -> Soc:
    found = socs.find(code)
    assert found is not None
    return found


def test_decode_is_a_share_of_the_memorys_peak() -> None:
    found = roofline.predict(LLAMA, soc("SM8350"), SHARES).decode
    assert found is not None
    ceiling = 51.2e9 / LLAMA.weights_bytes
    assert found.ceiling == pytest.approx(ceiling)
    assert (found.middle, found.low, found.high) == pytest.approx((0.4 * ceiling, 0.2 * ceiling, 0.9 * ceiling))


def test_prefill_is_a_share_of_the_cores_peak() -> None:
    found = roofline.predict(LLAMA, soc("SM8550"), SHARES).prefill
    assert found is not None
    cycles = 3.2e9 * 4 + 2 * 2.8e9 * 2 + 2 * 2.8e9 * 2 + 3 * 2.0e9 * 2
    assert found.ceiling == pytest.approx(cycles * 64 / (2 * 6_476_005_376))
    assert found.middle == pytest.approx(found.ceiling / 10)


def test_a_full_cache_is_read_too() -> None:
    empty, full = (roofline.predict(LLAMA, soc("SM8550"), SHARES, depth=depth).decode for depth in (0, 4096))
    assert empty is not None
    assert full is not None
    assert full.ceiling / empty.ceiling == pytest.approx(LLAMA.weights_bytes / (LLAMA.weights_bytes + 4096 * 2**19))


def test_what_the_table_cannot_tell_is_not_told() -> None:
    assert roofline.predict(work.of("smollm2-135m", "iq1_s"), soc("SM8550"), SHARES).decode is None
    assert roofline.predict(LLAMA, soc("SM8475"), SHARES).prefill is None, "no source tells its clocks"
    assert roofline.predict(replace(LLAMA, multiplied=None), soc("SM8550"), SHARES).prefill is None


@pytest.mark.parametrize("code", ["SM8350", "SM8550", "SM8650"])
def test_what_a_prediction_calls_its_ceiling_the_runner_calls_impossible(code: str) -> None:
    found = roofline.predict(LLAMA, soc(code), fitted()).decode
    assert found is not None
    assert found.high <= found.ceiling

    def at(rate: float) -> bool:
        return impossible(Measured([rate], 4, soc=code, bytes_per_token=LLAMA.weights_bytes)) is not None

    assert (at(found.ceiling * 0.999), at(found.ceiling * 1.001)) == (False, True)


@pytest.mark.parametrize(
    ("rate", "verdict"),
    [
        (1.0, "slower than predicted"),
        (2.0, "as predicted"),
        (9.0, "as predicted"),
        (9.5, "faster than predicted"),
        (10.5, "above the ceiling"),
    ],
)
def test_a_measured_speed_lies_somewhere(rate: float, verdict: str) -> None:
    found = roofline.against(rate, roofline.Expected(4.0, 2.0, 9.0, 10.0))
    assert (found.verdict, found.ratio, found.of_ceiling) == (verdict, rate / 4, rate / 10)
