from __future__ import annotations

from pathlib import Path

import pytest

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.bench.phone_filter import PhoneFilter, sold_gib
from smoothdroid.host.bench.plan import check
from smoothdroid.host.bench.request import Request, read_plan_file
from tests.host.fakes import phone

PIXEL = phone()  # 7500 MB: sold with 8 GiB


@pytest.mark.parametrize(
    ("kind", "fits"),
    [
        ({}, True),
        ({"phone": "adb:A"}, True),
        ({"phone": ["adb:B", "0badc0ffee00"]}, True),
        ({"phone": "adb:B"}, False),
        ({"label": ["desk", "rack"]}, True),
        ({"label": "rack"}, False),
        ({"model": "Google Pixel *"}, True),
        ({"model": "Pixel"}, False),
        ({"soc": ["SM8550", "zuma"]}, True),
        ({"soc": "SM8550"}, False),
        ({"isa": ["i8mm", "dotprod"]}, True),
        ({"isa": ["i8mm", "sve2"]}, False),
        ({"ram": ">= 8 GiB"}, True),
        ({"ram": ">= 12 GiB"}, False),
        ({"ram": "< 12 GiB"}, True),
        ({"ram": "< 8 GiB"}, False),
        ({"soc": "zuma", "ram": "< 8 GiB"}, False),
    ],
)
def test_a_kind_fits_or_not(kind: dict[str, object], fits: bool) -> None:
    assert PhoneFilter.model_validate(kind).fits(PIXEL, {"adb:A"}, ["desk"]) is fits


def test_memory_as_phones_are_sold() -> None:
    assert [sold_gib(mb) for mb in (3_600, 7_500, 8_192, 11_300, 15_000, 40_000)] == [4, 8, 8, 12, 16, 39]


PLAN = """
models = "small.gguf"
threads = 4

[[for]]
phones = { ram = ">= 8 GiB" }
models = ["small.gguf", "large.gguf"]
rounds = 2

[[for]]
phones = { soc = "zuma" }
threads = [4, 5]
"""


def plan(folder: Path, text: str = PLAN) -> Request:
    (folder / "plan.toml").write_text(text)
    return read_plan_file(folder / "plan.toml")


def test_words_for_some_phones_go_over_those_for_all(tmp_path: Path) -> None:
    asked = plan(tmp_path)
    mine = asked.on(PIXEL, {"adb:A"})
    assert mine == Request(models=[str(tmp_path / "small.gguf"), str(tmp_path / "large.gguf")], threads="4,5", rounds=2)
    small = asked.on(phone(memory_mb=3600, soc="other"), {"adb:A"})
    assert small == Request(models=[str(tmp_path / "small.gguf")], threads="4")


def test_the_command_line_goes_over_all(tmp_path: Path) -> None:
    mine = plan(tmp_path).with_options({"threads": "7"}).on(PIXEL, {"adb:A"})
    assert mine
    assert (mine.threads, mine.rounds) == ("7", 2)


def test_a_plan_may_be_for_some_phones_only(tmp_path: Path) -> None:
    asked = plan(tmp_path, 'models = "a.gguf"\nphones = { isa = "i8mm" }')
    assert asked.on(PIXEL, {"adb:A"})
    assert asked.on(phone(features=["asimd"]), {"adb:A"}) is None
    # What is said on the command line is no other phone.
    assert asked.with_options({"rounds": 2}).on(phone(features=["asimd"]), {"adb:A"}) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('phones = { socs = "x" }', "unknown key `phones.socs`; did you mean `soc`?"),
        ('phones = { ram = "8" }', "`phones.ram`: `8` is not a size: write `>= 8 GiB` or `< 8 GiB`"),
        ('phones = { isa = "avx" }', "`phones.isa`: unknown extension `avx`; known: dotprod"),
        ("[[for]]\nthread = 4", "unknown key `for.0.thread`; did you mean `threads`?"),
        ("[[for]]\nthreads = 4\n[[for.for]]\nthreads = 4", "unknown key `for.0.for`"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(BadInput) as error:
        plan(tmp_path, text)
    assert says in str(error.value)


def test_words_for_some_are_checked_before_any_phone_is_touched(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="the range 8-1 is empty"):
        check(plan(tmp_path, 'models = "a.gguf"\n[[for]]\nthreads = "8-1"'))
