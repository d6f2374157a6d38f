from __future__ import annotations

import threading

from smoothdroid.host.farm.sharing import Pool, identity, units
from smoothdroid.host.llamacpp.settings import Options
from smoothdroid.host.results.cell import Cell, Protocol, Test
from smoothdroid.host.results.plan import Plan
from tests.host.fakes import model, phone
from tests.waiting import GIVE_UP_S

PLAN = Plan(
    models=[model("plain"), model("smooth")],
    tests=[Test(n_prompt=512), Test(n_gen=128), Test(n_gen=128, sustained_s=600)],
    threads=[1, 4],
    options=[Options(), Options(depth=64)],
    protocol=Protocol(repetitions=5),
)


def no_end() -> None:
    """Nobody presses Ctrl-C."""


def test_the_models_of_a_setting_and_a_burst_and_what_follows_it_stay_together() -> None:
    made = units(PLAN)
    assert sorted(cell.model for unit in made for cell in unit.cells) == sorted(cell.model for cell in PLAN.cells())
    for unit in made:
        assert {cell.model for cell in unit.cells} == {"plain", "smooth"}
        assert len({(cell.threads, cell.options, cell.test.burst) for cell in unit.cells}) == 1
    kept_up = [unit for unit in made if any(cell.test.sustained_s for cell in unit.cells)]
    assert {len(unit.cells) for unit in kept_up} == {4}


def test_the_longest_comes_first() -> None:
    seconds = [unit.seconds for unit in units(PLAN)]
    assert seconds == sorted(seconds, reverse=True)
    by_threads = {unit.cells[0].threads: unit for unit in units(PLAN) if unit.cells[0].test == Test(n_prompt=512)}
    assert by_threads[1].seconds > by_threads[4].seconds


def test_nothing_is_given_twice_and_what_is_done_is_not_given() -> None:
    first, second, *_ = units(PLAN)
    pool = Pool(PLAN, "share", first.cells[:1], no_end)
    assert pool.free == 23
    a, b = pool.units("a", []), pool.units("b", [])
    assert next(a) == list(first.cells[1:])
    assert next(b) == list(second.cells)
    assert pool.free == 24 - len(first.cells) - len(second.cells)
    pool.release("b")
    rest = [cell for cells in a for cell in cells]
    assert set(rest) == set(PLAN.cells()) - set(first.cells), "what b held too: it dropped out"
    assert next(b, None) is None
    assert pool.free == 0


def test_equal_phones_are_those_of_one_model_and_soc() -> None:
    ours = identity(PLAN, phone(), "adb", "build")
    assert identity(PLAN, phone(id="another", celsius={}), "adb", "build") == ours
    others = [
        identity(PLAN, phone(soc="other"), "adb", "build"),
        identity(PLAN, phone(model="other"), "adb", "build"),
        identity(PLAN, phone(), "ssh", "build"),
        identity(PLAN, phone(), "adb", "another"),
        identity(PLAN.model_copy(update={"threads": [1]}), phone(), "adb", "build"),
    ]
    assert len({ours, *others}) == 6


def test_a_phone_that_drops_out_leaves_its_cells_to_one_that_waits() -> None:
    pool = Pool(PLAN, "share", [], no_end)
    lost = pool.units("lost", [])
    held = next(lost)
    measured: list[Cell] = []
    other = threading.Thread(target=lambda: measured.extend(c for cells in pool.units("other", []) for c in cells))
    other.start()
    while pool.free:
        other.join(0.01)
    other.join(0.1)
    assert other.is_alive(), "it waits for what the other phone holds"
    pool.release("lost")
    other.join(GIVE_UP_S)
    assert not other.is_alive()
    assert set(held) < set(measured)
    assert sorted(map(str, measured)) == sorted(map(str, PLAN.cells())), "each once"


def test_what_was_measured_before_is_given_to_nobody() -> None:
    cells = list(PLAN.cells())
    pool = Pool(PLAN, "share", cells[:5], no_end)
    assert sorted(str(c) for given in pool.units("a", cells[5:8]) for c in given) == sorted(map(str, cells[8:]))
