"""What to measure: models, tests, threads, masks and settings, checked before a phone is touched."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.info.phone import Phone
from smoothdroid.host.bench import option_values
from smoothdroid.host.bench.request import Request
from smoothdroid.host.gguf.artifact import Artifact
from smoothdroid.host.llamacpp.settings import SETTINGS, Options
from smoothdroid.host.results import cpu_masks
from smoothdroid.host.results.cell import Protocol, Test
from smoothdroid.host.results.plan import Plan


def make(models: Sequence[Artifact], asked: Request, phone: Phone) -> Plan:
    """A plan for a phone. Raises BadInput for what is empty, malformed or impossible there."""
    _check_names(models)
    check(asked)
    cpus = list(dict.fromkeys(tuple(cpu_masks.cpus_of(name, phone.clusters)) for name in asked.cpus))
    room = max(len(mask) or phone.cpu_count for mask in cpus)
    threads = option_values.numbers(asked.threads or f"1-{room}*2", "--threads")
    if beyond := [count for count in threads if count > phone.cpu_count]:
        raise BadInput(
            f"--threads {asked.threads}: {max(beyond)} threads on {phone.cpu_count} CPUs would only wait for each other"
        )
    plan = Plan(
        models=list(models),
        tests=_tests(asked),
        threads=threads,
        masks=cpus,
        options=_options(asked),
        protocol=_protocol(asked),
    )
    if not any(True for _ in plan.cells()):
        raise BadInput(
            f"--threads {asked.threads} is more than the {room} CPUs of --cpus {', '.join(asked.cpus)}: they would "
            "only wait for each other"
        )
    return plan


def check(asked: Request) -> None:
    """Read everything in a request that needs neither a phone nor a model. Raises BadInput as `make`."""
    for said in (asked, *(asked.over([one]) for one in asked.some)):
        option_values.numbers(said.threads or "1", "--threads")
        _tests(said), _options(said), _protocol(said)


def _check_names(models: Sequence[Artifact]) -> None:
    names = [model.name for model in models]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadInput(f"two models are called {twice[0]}; rename one, or the report could not tell them apart")
    named = {model.sha256: model.name for model in models}
    for model in models:
        if named[model.sha256] != model.name:
            raise BadInput(f"{model.name} and {named[model.sha256]} are the same model, byte for byte; leave one out")


def _tests(asked: Request) -> list[Test]:
    generate = [n for n in option_values.numbers(asked.generate, "--generate", least=0) if n]
    tests = [Test(n_prompt=n) for n in option_values.numbers(asked.prompt, "--prompt", least=0) if n]
    tests += [Test(n_gen=n) for n in generate]
    if asked.sustained:
        lasting = option_values.seconds(asked.sustained, "--sustained")
        tests += [test.model_copy(update={"sustained_s": lasting}) for test in tests]
    for text in asked.ask:
        if not text.strip() or not generate:
            raise BadInput("--ask needs a text, and --generate the longest answer in tokens")
        tests += [Test(prompt=text, n_gen=n) for n in generate]
    if not tests:
        raise BadInput("--prompt 0 and --generate 0 leave nothing to measure")
    return tests


def _options(asked: Request) -> list[Options]:
    values = [option_values.of_setting(setting, getattr(asked, setting.name)) for setting in SETTINGS]
    names = [setting.name for setting in SETTINGS]
    return [Options.model_validate(dict(zip(names, chosen, strict=True))) for chosen in product(*values)]


def _protocol(asked: Request) -> Protocol:
    for option, count in (("--repetitions", asked.repetitions), ("--rounds", asked.rounds)):
        if count < 1:
            raise BadInput(f"{option} {count}: at least 1")
    return Protocol(
        repetitions=asked.repetitions,
        rounds=asked.rounds,
        until=option_values.share(asked.until, "--until") if asked.until else None,
        budget_s=option_values.seconds(asked.budget, "--budget"),
        cooling=option_values.cooling(asked.cool, asked.cool_within) if asked.cool else None,
        seed=asked.seed,
    )
