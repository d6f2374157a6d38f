from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from device.errors import BadInput
from device.session import Cooling
from host.bench.plan import MOST_VALUES, Cell, Plan, Test, make, parse_cooling, parse_list
from tests.host.fakes import model


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("4", [4]),
        ("1,2,4", [1, 2, 4]),
        ("4,2,1", [4, 2, 1]),
        ("1-8", [1, 2, 3, 4, 5, 6, 7, 8]),
        ("3-3", [3]),
        ("2-8+2", [2, 4, 6, 8]),
        ("2-9+2", [2, 4, 6, 8]),
        ("1-8*2", [1, 2, 4, 8]),
        ("1-7*2", [1, 2, 4]),
        ("1-2,8", [1, 2, 8]),
        ("2,1-3,2", [2, 1, 3]),
        (" 1 , 2 ", [1, 2]),
        ("007", [7]),
        (f"1-{MOST_VALUES}", list(range(1, MOST_VALUES + 1))),
        ("512-4096*2", [512, 1024, 2048, 4096]),
    ],
)
def test_reads_lists_as_llama_bench_does(text: str, values: list[int]) -> None:
    assert parse_list(text, "--threads") == values


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "write 1,2,4 or 1-8"),
        (" ", "write 1,2,4 or 1-8"),
        (",", "write 1,2,4 or 1-8"),
        ("1,", "write 1,2,4 or 1-8"),
        ("1,,2", "write 1,2,4 or 1-8"),
        ("a", "`a` is no number and no range"),
        ("1-", "`1-` is no number"),
        ("-1", "`-1` is no number"),
        ("1.5", "`1.5` is no number"),
        ("1 2", "`1 2` is no number"),
        ("1+2", "`1+2` is no number"),
        ("1-8/2", "`1-8/2` is no number"),
        ("1-8+", "no number"),
        ("٣", "no number"),  # a digit, but none that llama-bench reads
        ("0", "0 is below 1"),
        ("0-3", "0 is below 1"),
        ("8-1", "the range 8-1 is empty"),
        ("1-8*1", "never ends"),
        ("1-8*0", "never ends"),
        ("1-8+0", "never ends"),
        ("1-999999999", f"more than {MOST_VALUES} values"),
        (f"1-{MOST_VALUES + 1}", f"more than {MOST_VALUES} values"),
        ("9" * 12, "too large"),  # more than llama-bench's int
        ("9" * 5000, "too large"),  # more digits than Python's int() reads
        ("1-2*" + "9" * 5000, "too large"),
    ],
)
def test_says_what_is_wrong_with_a_list_and_what_to_write(text: str, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_list(text, "--threads")
    assert str(caught.value).startswith("--threads ")
    assert says in str(caught.value)
    assert len(str(caught.value)) < 300


items = st.one_of(
    st.integers(1, 99).map(lambda n: (str(n), [n])),
    st.tuples(st.integers(1, 40), st.integers(0, 60), st.integers(1, 9)).map(
        lambda t: (f"{t[0]}-{t[0] + t[1]}+{t[2]}", list(range(t[0], t[0] + t[1] + 1, t[2])))
    ),
    st.tuples(st.integers(1, 40), st.integers(0, 4000), st.integers(2, 5)).map(
        lambda t: (f"{t[0]}-{t[0] + t[1]}*{t[2]}", [v for k in range(13) if (v := t[0] * t[2] ** k) <= t[0] + t[1]])
    ),
)


@given(st.lists(items, min_size=1, max_size=8))
def test_a_list_is_its_items_one_after_the_other_each_value_once(parts: list[tuple[str, list[int]]]) -> None:
    expected = list(dict.fromkeys(value for _, values in parts for value in values))
    assert parse_list(",".join(text for text, _ in parts), "-t") == expected


@given(st.text(alphabet="0123456789,-+* a", max_size=12), st.integers(0, 1))
@example("0-0*2", 0)
def test_any_text_is_a_list_of_allowed_values_or_bad_input(text: str, least: int) -> None:
    try:
        values = parse_list(text, "-t", least=least)
    except BadInput:
        return
    assert 0 < len(values) == len(set(values)) <= MOST_VALUES
    assert min(values) >= least


def plan_of(**changes: Any) -> Plan:
    words: dict[str, Any] = {"threads": "1,2", "prompt": "16", "generate": "8", "repetitions": 3, "cpu_count": 8}
    models = changes.pop("models", [model("a"), model("b")])
    return make(models, **words | changes)


def test_models_take_turns_inside_a_thread_count() -> None:
    order = [(cell.test.name, cell.threads, cell.model) for cell in plan_of().cells()]
    assert order == [
        ("pp16", 1, "a"),
        ("pp16", 1, "b"),
        ("pp16", 2, "a"),
        ("pp16", 2, "b"),
        ("tg8", 1, "a"),
        ("tg8", 1, "b"),
        ("tg8", 2, "a"),
        ("tg8", 2, "b"),
    ]


def test_zero_leaves_prefill_or_decode_out() -> None:
    assert [test.name for test in plan_of(prompt="0").tests] == ["tg8"]
    assert [test.name for test in plan_of(generate="0").tests] == ["pp16"]
    assert [test.name for test in plan_of(prompt="0,16,32").tests] == ["pp16", "pp32", "tg8"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"threads": "1-9"}, "9 threads on 8 CPUs"),
        ({"threads": "0"}, "--threads"),
        ({"prompt": "x"}, "--prompt"),
        ({"generate": ""}, "--generate"),
        ({"prompt": "0", "generate": "0"}, "nothing to measure"),
        ({"repetitions": 0}, "--repetitions 0: at least 1"),
        ({"repetitions": -1}, "--repetitions -1: at least 1"),
        ({"models": [model("a"), model("a", sha256="1" * 64)]}, "two models are called a"),
        ({"models": [model("a"), model("copy", sha256=model("a").sha256)]}, "a and copy are the same model"),
    ],
)
def test_refuses_a_plan_that_cannot_be_measured(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        plan_of(**changes)


CELL = Cell(model="a", model_sha256="f" * 64, threads=4, test=Test(n_prompt=512, n_gen=0), repetitions=5)


def test_a_fingerprint_stays_what_it_was() -> None:
    """Results on people's disks are found by it: what changes it must raise PROTOCOL_VERSION."""
    assert CELL.fingerprint("phone", "adb", "build") == "2d9e432a0238daed"


@pytest.mark.parametrize(
    "other",
    [
        CELL.model_copy(update={"model_sha256": "e" * 64}).fingerprint("phone", "adb", "build"),
        CELL.model_copy(update={"threads": 3}).fingerprint("phone", "adb", "build"),
        CELL.model_copy(update={"test": Test(n_prompt=0, n_gen=512)}).fingerprint("phone", "adb", "build"),
        CELL.model_copy(update={"repetitions": 4}).fingerprint("phone", "adb", "build"),
        CELL.model_copy(update={"cpus": [4, 5]}).fingerprint("phone", "adb", "build"),
        CELL.model_copy(update={"cooling": Cooling(celsius=40)}).fingerprint("phone", "adb", "build"),
        CELL.fingerprint("other", "adb", "build"),
        CELL.fingerprint("phone", "ssh", "build"),
        CELL.fingerprint("phone", "adb", "other"),
    ],
)
def test_whatever_changes_a_measurement_changes_its_fingerprint(other: str) -> None:
    assert other != CELL.fingerprint("phone", "adb", "build")


def test_a_models_name_is_not_its_identity() -> None:
    renamed = CELL.model_copy(update={"model": "b"})
    assert renamed.fingerprint("phone", "adb", "build") == CELL.fingerprint("phone", "adb", "build")


@pytest.mark.parametrize(
    ("text", "cooling"),
    [
        ("40", Cooling(celsius=40, within_s=60)),
        ("37.5", Cooling(celsius=37.5, within_s=60)),
        ("start", Cooling(above_start=0, within_s=60)),
        ("start+2", Cooling(above_start=2, within_s=60)),
        ("start + 1.5", Cooling(above_start=1.5, within_s=60)),
    ],
)
def test_reads_how_cool(text: str, cooling: Cooling) -> None:
    assert parse_cooling(text, 60) == cooling


@pytest.mark.parametrize("text", ["", "+", "cold", "-3", "+3", "40C", "start+", "start-1", "start2", "1e2", "４０"])
def test_how_cool_must_be_said_clearly(text: str) -> None:
    with pytest.raises(BadInput, match="write degrees, as in 40"):
        parse_cooling(text, 60)
