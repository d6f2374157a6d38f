from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.job.task import Cooling
from smoothdroid.host.bench.plan import make
from smoothdroid.host.bench.request import Request
from smoothdroid.host.gguf.artifact import Artifact
from smoothdroid.host.llamacpp.settings import Options
from smoothdroid.host.results.cell import Test
from smoothdroid.host.results.plan import Plan
from tests.host.fakes import model, phone

SMALL = Request(threads="1,2", prompt="16", generate="8", repetitions=3)


def plan_of(models: Sequence[Artifact] = (model("a"), model("b")), **changes: Any) -> Plan:
    return make(models, SMALL.model_copy(update=changes), phone())


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
        ({"threads": "1-10"}, "10 threads on 9 CPUs"),
        ({"threads": "0"}, "--threads"),
        ({"prompt": "x"}, "--prompt"),
        ({"generate": ""}, "--generate"),
        ({"prompt": "0", "generate": "0"}, "nothing to measure"),
        ({"repetitions": 0}, "--repetitions 0: at least 1"),
        ({"repetitions": -1}, "--repetitions -1: at least 1"),
        ({"rounds": 0}, "--rounds 0: at least 1"),
        ({"until": "2"}, "--until"),
        ({"budget": "2"}, "--budget"),
        ({"sustained": "10"}, "--sustained"),
        ({"cool": "cold"}, "--cool"),
        ({"depth": "deep"}, "--depth"),
        ({"batch": "0"}, "--batch"),
        ({"cache_k": "q9"}, "--cache-k 'q9': unknown value `q9`;"),
        ({"flash_attention": "yes"}, "--flash-attention"),
        ({"mmap": "true"}, "--mmap"),
        ({"cpus": ["huge"]}, "--cpus"),
        ({"cpus": ["big"], "threads": "2"}, "--threads 2 is more than the 1 CPUs of --cpus big"),
        ({"ask": [" "]}, "--ask needs a text"),
        ({"ask": ["hi"], "generate": "0"}, "--ask needs a text, and --generate"),
        ({"models": [model("a"), model("a", sha256="1" * 64)]}, "two models are named a"),
        ({"models": [model("a"), model("copy", sha256=model("a").sha256)]}, "a and copy are the same model"),
    ],
)
def test_refuses_a_plan_that_cannot_be_measured(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        plan_of(**changes)


def test_every_combination_is_a_cell() -> None:
    plan = plan_of(
        models=[model("a")], generate="0", cpus=["mid", "any"], depth="0,64", cache_k="f16,q8_0", flash_attention="on"
    )
    cells = list(plan.cells())
    assert len(cells) == len(set(cells)) == 2 * 2 * 2 * 2
    assert {cell.cpus for cell in cells} == {(4, 5, 6, 7), ()}
    assert {(cell.options.depth, cell.options.cache_k) for cell in cells} == {
        (depth, kind) for depth in (0, 64) for kind in ("f16", "q8_0")
    }
    assert {cell.options.flash_attention for cell in cells} == {"on"}


def test_what_is_not_asked_for_is_left_to_llama_cpp() -> None:
    (options,) = plan_of().options
    assert options == Options()
    assert str(options) == ""
    assert str(Options(depth=64, cache_k="q8_0")) == "depth 64, cache k q8_0"


def test_threads_that_would_wait_for_each_other_are_left_out() -> None:
    plan = plan_of(models=[model("a")], generate="0", cpus=["big", "mid"], threads="1-8*2")
    assert [(cell.cpus, cell.threads) for cell in plan.cells()] == [
        ((8,), 1),
        ((4, 5, 6, 7), 1),
        ((4, 5, 6, 7), 2),
        ((4, 5, 6, 7), 4),
    ]


def test_threads_default_to_what_the_cpus_allow() -> None:
    assert plan_of(threads="").threads == [1, 2, 4, 8]
    assert plan_of(threads="", cpus=["mid"]).threads == [1, 2, 4]


def test_two_names_of_the_same_cpus_are_one_mask() -> None:
    assert plan_of(cpus=["mid", "4-7"]).masks == [(4, 5, 6, 7)]


def test_turns_are_all_cells_in_an_order_that_the_seed_gives() -> None:
    plan = plan_of(threads="1-9", generate="0")
    first, second = list(plan.turns(0)), list(plan.turns(1))
    assert sorted(map(repr, first)) == sorted(map(repr, second)) == sorted(map(repr, plan.cells()))
    assert first == list(plan.turns(0)), "it can be had again"
    assert first != second
    assert first != list(plan.cells())
    another = plan_of(threads="1-9", generate="0", seed=1)
    assert [cell.threads for cell in another.turns(0)] != [cell.threads for cell in first]


def test_in_a_round_the_models_of_a_setting_are_measured_beside_each_other_neither_always_first() -> None:
    plan = plan_of(threads="1-9", generate="0")
    turns = [list(plan.turns(number)) for number in range(4)]
    for order in turns:
        for one, other in zip(order[::2], order[1::2], strict=True):
            assert (one.threads, {one.model, other.model}) == (other.threads, {"a", "b"})
    assert {order[0].model for order in turns} == {"a", "b"}


def test_a_sustained_test_comes_beside_its_burst() -> None:
    plan = plan_of(models=[model("a")], sustained="10m", prompt="0", threads="4")
    burst, kept_up = plan.cells()
    assert kept_up.burst == burst
    assert (burst.test.name, kept_up.test.name, kept_up.rounds) == ("tg8", "tg8 for 10 min", 1)


@pytest.mark.parametrize(("repetitions", "rounds", "processes"), [(3, 2, 3), (2, 5, 5), (1, 1, 1)])
def test_a_real_prompt_is_answered_once_in_a_process(repetitions: int, rounds: int, processes: int) -> None:
    often = {"repetitions": repetitions, "rounds": rounds}
    plan = plan_of(models=[model("a")], ask=["Why is the sky blue?"], prompt="0", threads="4", depth="0,64", **often)
    (asked,) = [cell for cell in plan.cells() if cell.test.prompt]
    assert (asked.test, asked.rounds) == (Test(prompt="Why is the sky blue?", n_gen=8), processes)
    assert asked.test.name == "“Why is the sky blue?”"


def test_a_long_prompt_has_a_short_name_of_its_own() -> None:
    one, other = (Test(prompt=f"Tell me, in very many words, a story.\n{n}", n_gen=8) for n in (1, 2))
    assert one.name.startswith("“Tell me, in very many …” ")
    assert one.name != other.name


def test_a_cell_has_five_processes_of_two_repetitions_unless_asked_otherwise() -> None:
    cells = list(make([model("a")], Request(threads="1"), phone()).cells())
    assert {(cell.rounds, cell.protocol.repetitions) for cell in cells} == {(5, 2)}


def test_the_protocol_is_as_asked() -> None:
    protocol = plan_of(until="2%", budget="5m", rounds=3, cool="start+2", cool_within=60, seed=7).protocol
    assert (protocol.until, protocol.budget_s, protocol.rounds, protocol.seed) == (0.02, 300, 3, 7)
    assert protocol.cooling == Cooling(above_start=2, within_s=60)
