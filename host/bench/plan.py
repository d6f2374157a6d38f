"""The plan for a phone, made from a request: models, tests, threads, CPU masks and settings, all checked."""

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


def make(models: Sequence[Artifact], request: Request, phone: Phone) -> Plan:
    """Return the plan for a phone. Raises BadInput for options that are empty, malformed or impossible there."""
    _check_names(models)
    check(request)
    cpus = list(dict.fromkeys(tuple(cpu_masks.cpus_of(name, phone.clusters)) for name in request.cpus))
    room = max(len(mask) or phone.cpu_count for mask in cpus)
    threads = option_values.numbers(request.threads or f"1-{room}*2", "--threads")
    if beyond := [count for count in threads if count > phone.cpu_count]:
        raise BadInput(
            f"--threads {request.threads}: {max(beyond)} threads on {phone.cpu_count} CPUs would only wait for each "
            "other"
        )
    plan = Plan(
        models=list(models),
        tests=_tests(request),
        threads=threads,
        masks=cpus,
        options=_options(request),
        protocol=_protocol(request),
    )
    if not any(True for _ in plan.cells()):
        raise BadInput(
            f"--threads {request.threads} is more than the {room} CPUs of --cpus {', '.join(request.cpus)}: they would "
            "only wait for each other"
        )
    return plan


def check(request: Request) -> None:
    """Check everything in a request that needs neither a phone nor a model. Raises BadInput as `make` does."""
    for options in (request, *(request.overridden_by([override]) for override in request.overrides)):
        option_values.numbers(options.threads or "1", "--threads")
        _tests(options), _options(options), _protocol(options)


def _check_names(models: Sequence[Artifact]) -> None:
    names = [model.name for model in models]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadInput(f"two models are named {twice[0]}, and a report could not tell them apart: rename one")
    named = {model.sha256: model.name for model in models}
    for model in models:
        if named[model.sha256] != model.name:
            raise BadInput(f"{model.name} and {named[model.sha256]} are the same model, byte for byte: leave one out")


def _tests(request: Request) -> list[Test]:
    generate = [n for n in option_values.numbers(request.generate, "--generate", least=0) if n]
    tests = [Test(n_prompt=n) for n in option_values.numbers(request.prompt, "--prompt", least=0) if n]
    tests += [Test(n_gen=n) for n in generate]
    if request.sustained:
        sustained_s = option_values.seconds(request.sustained, "--sustained")
        tests += [test.model_copy(update={"sustained_s": sustained_s}) for test in tests]
    for text in request.ask:
        if not text.strip() or not generate:
            raise BadInput("--ask needs a text, and --generate the length of the answer in tokens")
        tests += [Test(prompt=text, n_gen=n) for n in generate]
    if not tests:
        raise BadInput("--prompt 0 and --generate 0 leave nothing to measure")
    return tests


def _options(request: Request) -> list[Options]:
    values = [option_values.of_setting(setting, getattr(request, setting.name)) for setting in SETTINGS]
    names = [setting.name for setting in SETTINGS]
    return [Options.model_validate(dict(zip(names, chosen, strict=True))) for chosen in product(*values)]


def _protocol(request: Request) -> Protocol:
    for option, count in (("--repetitions", request.repetitions), ("--rounds", request.rounds)):
        if count < 1:
            raise BadInput(f"{option} {count}: at least 1")
    return Protocol(
        repetitions=request.repetitions,
        rounds=request.rounds,
        until=option_values.share(request.until, "--until") if request.until else None,
        budget_s=option_values.seconds(request.budget, "--budget"),
        cooling=option_values.cooling(request.cool, request.cool_within) if request.cool else None,
        seed=request.seed,
    )
