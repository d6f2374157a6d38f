"""A record -> the command that measures it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from smoothdroid.host.llamacpp.settings import SETTINGS
from smoothdroid.host.model.evaluate.record import Evaluation
from smoothdroid.host.results import cpu_masks
from smoothdroid.host.results.record import Campaign


def bench(campaign: Campaign) -> str:
    """`smoothdroid bench ...` for a shell, whatever the names in it are."""
    plan, protocol = campaign.plan, campaign.plan.protocol
    bursts = [test for test in plan.tests if not test.sustained_s]
    words = ["smoothdroid", "bench", *(str(model.path) for model in plan.models), "--on", campaign.target]
    words += ["--threads", _list(plan.threads)]
    words += ["--prompt", _list(test.n_prompt for test in bursts if test.n_prompt) or "0"]
    words += ["--generate", _list(dict.fromkeys(test.n_gen for test in bursts if test.n_gen)) or "0"]
    for text in dict.fromkeys(test.prompt for test in bursts if test.prompt):
        words += ["--ask", text]
    for cpus in plan.masks:
        words += ["--cpus", cpu_masks.listed(cpus) if cpus else cpu_masks.ANY]
    for setting in SETTINGS:
        values = list(dict.fromkeys(getattr(options, setting.name) for options in plan.options))
        if values != [setting.default]:
            words += [setting.option, _list(values)]
    words += ["--repetitions", str(protocol.repetitions), "--rounds", str(protocol.rounds)]
    if protocol.until is not None:
        words += ["--until", f"{100 * protocol.until:g}%", "--budget", f"{protocol.budget_s}s"]
    if lasting := max(test.sustained_s for test in plan.tests):
        words += ["--sustained", f"{lasting}s"]
    if cooling := protocol.cooling:
        limit = f"{cooling.celsius:g}" if cooling.celsius is not None else f"start+{cooling.above_start or 0:g}"
        words += ["--cool", limit, "--cool-within", str(cooling.within_s)]
    words += ["--seed", str(protocol.seed)]
    requested = campaign.requested
    words += ["--isa", requested.isa] if requested.isa else []
    words += ["--llama-cpp", requested.llama_cpp] if requested.llama_cpp else []
    return shlex.join([*words, "--force"] if requested.force else words)


def evaluate(found: Evaluation) -> str:
    """`smoothdroid evaluate ...`: the record has names of files, not their folders, and a text's name."""
    models = (f"{model.name}.gguf" for model in (found.reference, *(c.model for c in found.candidates)))
    counts = ["--context", str(found.context), "--chunks", str(found.windows)]
    return shlex.join(["smoothdroid", "evaluate", *models, *counts])


def _list(values: Iterable[object]) -> str:
    return ",".join(str(value) for value in values)
