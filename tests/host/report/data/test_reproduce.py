from __future__ import annotations

import shlex
from typing import Any

import pytest
import typer.main

from smoothdroid.device.job.task import Cooling
from smoothdroid.host import cli
from smoothdroid.host.bench import plan as plans
from smoothdroid.host.bench.request import Request
from smoothdroid.host.llamacpp.settings import Options
from smoothdroid.host.report.data import reproduce
from smoothdroid.host.results.cell import Protocol, Test
from smoothdroid.host.results.plan import Plan
from tests.host.fakes import campaign, model, phone
from tests.host.report.whole import HOSTILE, MODELS, PLAN, evaluation

PIXEL = phone()


def asked(command: str) -> Request:
    """What the real command line makes of it."""
    program, name, *words = shlex.split(command)
    assert (program, name) == ("smoothdroid", "bench")
    group = typer.main.get_command(cli.app)
    bench = group.get_command(typer.Context(group), name)  # type: ignore[attr-defined]
    given: dict[str, Any] = bench.make_context(name, list(words)).params
    fields = {key: value for key, value in given.items() if key in Request.model_fields and value not in (None, [], ())}
    fields["models"] = [str(path) for path in fields["models"]]
    return Request.model_validate(fields)


@pytest.mark.parametrize(
    "plan",
    [
        PLAN,
        PLAN.model_copy(update={"tests": [Test(n_prompt=16)], "masks": [()]}),
        PLAN.model_copy(
            update={"models": [model(HOSTILE)], "tests": [Test(n_gen=4), Test(prompt="a 'b' $(id)", n_gen=4)]}
        ),
        PLAN.model_copy(
            update={
                "options": [Options(depth=d, cache_k=k) for d in (0, 512) for k in ("f16", "q8_0")],
                "protocol": Protocol(
                    repetitions=4,
                    rounds=2,
                    until=0.02,
                    budget_s=90,
                    seed=7,
                    cooling=Cooling(above_start=2, within_s=60),
                ),
            }
        ),
        PLAN.model_copy(update={"protocol": Protocol(repetitions=1, cooling=Cooling(celsius=40))}),
    ],
)
def test_the_command_makes_the_same_plan(plan: Plan) -> None:
    if plan.tests == PLAN.tests:  # `--sustained` is for every test
        bursts = [test for test in plan.tests if not test.sustained_s]
        lasting = [test.model_copy(update={"sustained_s": 120}) for test in bursts]
        plan = plan.model_copy(update={"tests": [*bursts, *lasting]})
    command = reproduce.bench(campaign(plan, PIXEL))
    assert plans.make(plan.models, asked(command), PIXEL) == plan


def test_an_evaluation_too() -> None:
    words = shlex.split(reproduce.evaluate(evaluation(MODELS)))
    assert words[:3] == ["smoothdroid", "evaluate", "tiny-plain-f32.gguf"]
    assert words[-4:] == ["--context", "32", "--chunks", "4"]
