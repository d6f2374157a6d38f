from __future__ import annotations

import pytest

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.info.phone import Phone
from smoothdroid.host.compare.by import FIELDS, By, choose, parse
from smoothdroid.host.llamacpp.settings import Options
from smoothdroid.host.results.cell import Protocol, Test
from smoothdroid.host.results.plan import Plan
from tests.host.fakes import campaign, model, phone

PLAN = Plan(
    models=[model("m-q8_0"), model("m-smooth-q8_0"), model("other")],
    threads=[1, 4, 8],
    tests=[Test(n_prompt=512), Test(n_gen=128)],
    masks=[(), (8,), (0, 1, 2, 3), (0, 1, 2, 8)],
    options=[Options(), Options(depth=4096, flash_attention="on"), Options(cache_k="q8_0", mmap="off")],
    protocol=Protocol(repetitions=2, rounds=5),
)


def chosen(text: str, plan: Plan = PLAN, on: Phone | None = None) -> tuple[str, str]:
    field, said = parse(text)
    known = [campaign(plan, on or phone()), campaign(plan, phone()).model_copy(update={"build_id": "f" * 16})]
    by = choose(field, said, [(one, cell) for one in known for cell in plan.cells()])
    assert by == By(field, by.a, by.b)
    return by.a, by.b


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("threads=4,8", ("4", "8")),
        ("threads=8, 4", ("8", "4")),
        ("cpus=big,any", ("big", "any")),
        ("cpus=8,little", ("big", "little")),
        ("cpus=0-3,any", ("little", "any")),
        ("cpus=0-2,8,any", ("0-2,8", "any")),
        ("cpus=any,0-2,8", ("any", "0-2,8")),
        ("depth=0,4096", ("0", "4096")),
        ("cache-k=default,q8_0", ("default", "q8_0")),
        ("cache_k=default,q8_0", ("default", "q8_0")),
        ("flash-attention=default,ON", ("default", "on")),
        ("mmap=off,default", ("off", "default")),
        ("test=pp512,tg128", ("pp512", "tg128")),
        ("model=m-q8,smooth", ("m-q8_0", "m-smooth-q8_0")),
        ("model=other,m-q8_0", ("other", "m-q8_0")),
        ("model=out/m-q8_0.gguf,other.gguf", ("m-q8_0", "other")),
        (
            "build=0123,ffff",
            ("0123456789abcdef (i8mm, llama.cpp 0c1e57098)", "ffffffffffffffff (i8mm, llama.cpp 0c1e57098)"),
        ),
    ],
)
def test_two_values_are_found(text: str, values: tuple[str, str]) -> None:
    assert chosen(text) == values


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("threads", r"write FIELD=A,B.*model, test, threads, cpus, depth"),
        ("thread=4,8", r"unknown field `thread`; did you mean `threads`\? there are model, test"),
        ("flash-atention=on,off", r"did you mean `flash-attention`\?"),
        ("=4,8", r"unknown field ``; there are model"),
        ("threads=4", r"two values.*there are 1, 4, 8"),
        ("threads=", r"two values"),
        ("threads=4,", r"two values"),
        ("threads=1,4,8", r"two values"),
        ("threads=4,16", r"no cell has threads `16`; .*there are 1, 4, 8"),
        ("threads=4,4", r"both are 4; there are 1, 4, 8"),
        ("cpus=big,8", r"both are big"),
        ("cpus=big,mid", r"no cell has cpus `mid`; there are any, big, little, 0-2,8"),
        ("depth=0,4069", r"no cell has depth `4069`; did you mean `4096`\?"),
        ("batch=512,default", r"no cell has batch `512`; there is default"),
        ("model=q8_0,other", r"--models q8_0,other: `q8_0` matches m-q8_0 and m-smooth-q8_0; write more"),
        ("model=m-smoth-q8_0,other", r"no cell has model `m-smoth-q8_0`; did you mean `m-smooth-q8_0`\?"),
        ("build=abab,0123", r"no cell has build `abab`"),
    ],
)
def test_what_is_not_there_is_an_error_that_lists_what_is(text: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        chosen(text)


def test_results_without_a_cell_have_no_values() -> None:
    with pytest.raises(BadInput, match="have no cell yet"):
        choose(FIELDS["threads"], "1,2", [])


def test_a_comma_may_stand_in_a_models_name() -> None:
    plan = PLAN.model_copy(update={"models": [model("a,b"), model("c")]})
    assert chosen("model=a,b,c", plan) == ("a,b", "c")
    assert chosen("model=c,a,b", plan) == ("c", "a,b")


def test_models_whose_names_differ_in_case_are_two_models() -> None:
    plan = PLAN.model_copy(update={"models": [model("a"), model("A")]})
    assert chosen("model=A,a", plan) == ("A", "a")


def test_a_mask_that_has_another_name_on_each_phone_is_ambiguous() -> None:
    plan = PLAN.model_copy(update={"masks": [(), (0, 1, 2, 3)]})
    (only,) = [cluster for cluster in phone().clusters if cluster.cpus == [4, 5, 6, 7]]
    other = phone(id="feed", clusters=[only.model_copy(update={"cpus": list(range(9))})])
    assert chosen("cpus=little,any", plan, other) == ("little", "any")
    with pytest.raises(BadInput, match="matches 0-3 and little"):
        chosen("cpus=0-3,any", plan, other)


def test_every_option_of_a_cell_is_a_field() -> None:
    assert {name.replace("_", "-") for name in Options.model_fields} < set(FIELDS)
