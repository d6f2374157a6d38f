from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.job.task import Cooling
from smoothdroid.host.bench import option_values
from smoothdroid.host.bench.option_values import MOST_VALUES, numbers


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
    assert numbers(text, "--threads") == values


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "write 1,2,4 or 1-8"),
        (" ", "write 1,2,4 or 1-8"),
        (",", "write 1,2,4 or 1-8"),
        ("1,", "write 1,2,4 or 1-8"),
        ("1,,2", "write 1,2,4 or 1-8"),
        ("a", "`a` is neither a number nor a range"),
        ("1-", "`1-` is neither a number"),
        ("-1", "`-1` is neither a number"),
        ("1.5", "`1.5` is neither a number"),
        ("1 2", "`1 2` is neither a number"),
        ("1+2", "`1+2` is neither a number"),
        ("1-8/2", "`1-8/2` is neither a number"),
        ("1-8+", "neither a number"),
        ("٣", "neither a number"),  # a digit, but none that llama-bench reads
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
        numbers(text, "--threads")
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
    assert numbers(",".join(text for text, _ in parts), "-t") == expected


@given(st.text(alphabet="0123456789,-+* a", max_size=12), st.integers(0, 1))
@example("0-0*2", 0)
def test_any_text_is_a_list_of_allowed_values_or_bad_input(text: str, least: int) -> None:
    try:
        values = numbers(text, "-t", least=least)
    except BadInput:
        return
    assert 0 < len(values) == len(set(values)) <= MOST_VALUES
    assert min(values) >= least


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
    assert option_values.cooling(text, 60) == cooling


@pytest.mark.parametrize("text", ["", "+", "cold", "-3", "+3", "40C", "start+", "start-1", "start2", "1e2", "４０"])
def test_how_cool_must_be_said_clearly(text: str) -> None:
    with pytest.raises(BadInput, match="write a temperature in °C, such as 40"):
        option_values.cooling(text, 60)


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), ("0%", 0.0), ("12.5%", 0.125), ("99%", 0.99)])
def test_a_share_is_in_percent(text: str, share: float) -> None:
    assert option_values.share(text, "--until") == pytest.approx(share)


@pytest.mark.parametrize("text", ["5", "0.05", "", "%", "-5%", "100%", "5 %", "1e1%", "nan%", "5%%", "٥%", "x" * 99])
def test_a_share_without_percent_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"--until .*write a percentage"):
        option_values.share(text, "--until")


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1h", 3600), ("0s", 0)])
def test_a_duration_has_its_unit(text: str, seconds: int) -> None:
    assert option_values.seconds(text, "--sustained") == seconds


@pytest.mark.parametrize("text", ["10", "", "m", "10 m", "1.5h", "-1s", "1w", "٣s", "9999999s"])
def test_a_duration_without_a_unit_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"--sustained .*with its unit"):
        option_values.seconds(text, "--sustained")


def test_choices_are_those_that_are_allowed_each_once() -> None:
    assert option_values.choices("q8_0, f16,q8_0", "--cache-k", ("f16", "q8_0")) == ["q8_0", "f16"]
    with pytest.raises(BadInput, match="--cache-k 'f16,q9': unknown value `q9`; known: f16, q8_0"):
        option_values.choices("f16,q9", "--cache-k", ("f16", "q8_0"))
