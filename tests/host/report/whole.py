"""Results that contain everything that a report can show, for tests of a whole report."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from smoothdroid.host.gguf.artifact import Artifact
from smoothdroid.host.llamacpp.settings import Options
from smoothdroid.host.llamacpp.tool_output import CompletionRecord
from smoothdroid.host.model.evaluate.record import Candidate, Evaluation, Model, write_evaluation
from smoothdroid.host.report.data.report_data import ReportData, load
from smoothdroid.host.report.data.rows import EvaluatedCampaign, evaluate_campaign
from smoothdroid.host.results.cell import Cell, Protocol, Test
from smoothdroid.host.results.plan import Plan
from smoothdroid.host.results.record import SAMPLES, Campaign, Run, append, find_campaigns, write_campaign
from tests.host.fakes import campaign, model, phone, run_of, runs_of

SCRIPT = "<script>alert(1)</script>"
HOSTILE = f'{SCRIPT}<img src=x onerror=alert(2)>]]>--><!--" onload="alert(3)\'&amp;\u202e\x07\ufffe|`$x^$\n# h'
"""A name that wants out of HTML, SVG, comments, attributes, Markdown, its line and the reading order."""

BIG, SUSTAINED_S = (4, 5, 6, 7), 120
TESTS = [Test(n_prompt=512), Test(n_gen=128)]
PROMPT = Test(prompt="hi", n_gen=8)

COLUMNS = ("time", "zone\tthermal_zone0\tBIG", "zone\tthermal_zone1\tskin", "frequency\t4 5 6 7", "frequency\t0 1 2 3")
BATTERY = ("battery\tstatus", "battery\tcurrent_now", "battery\tvoltage_now")


def artifact(name: str, kind: str, *, smooth: bool = False, size_mb: int = 100) -> Artifact:
    """A model as `smoothdroid prepare` describes it."""
    recipe = {"source": {"name": "tiny"}, "quantisation": kind, "smoothing": {"alpha": 0.5} if smooth else None}
    return model(name).model_copy(update={"manifest": {"recipe": recipe}, "size_bytes": size_mb * 10**6})


MODELS = [
    artifact("tiny-plain-q8_0", "q8_0"),
    artifact("tiny-smooth-q8_0", "q8_0", smooth=True),
]
PLAN = Plan(
    models=MODELS,
    threads=[1, 2, 4],
    tests=[*TESTS, TESTS[1].model_copy(update={"sustained_s": SUSTAINED_S})],
    masks=[(), BIG],
    protocol=Protocol(repetitions=2, rounds=3),
)


def rates(cell: Cell) -> list[float]:
    """One for each process, or for each repetition of a sustained cell: steady, but for 4 threads without a mask."""
    start = (100.0 if cell.test.n_prompt else 10.0) * cell.threads + (1 if "smooth" in cell.model else 0)
    if cell.test.sustained_s:
        return [start * share for share in (1.0, 0.9, 0.8)]
    return [start, 3 * start, start] if cell.threads == 4 and not cell.cpus else [start, start * 1.01, start * 0.99]


def samples(run: Run) -> str:
    """What the runner sampled: it warms up, slows down, and draws 2 W from the battery."""
    lines = [f"column\t{name}\n" for name in (*COLUMNS, *BATTERY)]
    end = round(run.wall_s)
    for at_s in range(0, end + 1, max(1, end // 40)):
        celsius, khz = 30_000 + 200 * at_s, 2_000_000 - 2000 * at_s
        values = (100 * at_s, celsius, 28_000, khz, 1_704_000, "Discharging", -500_000, 4_000_000)
        lines.append("sample\t" + "\t".join(map(str, values)) + "\n")
        if run.cell.cpus:
            lines.append("/proc/7/task/7/status:Cpus_allowed_list:\t4-7\n")
    lines.append("/proc/7/smaps_rollup:Pss:\t204800 kB\n")
    return "".join(lines)


def write_whole(folder: Path, known: Campaign) -> Path:
    """Every cell of a campaign with its samples; those with 2 threads on no mask failed."""
    write_campaign(folder, known)
    for cell in known.plan.cells():
        if cell.threads == 2 and not cell.cpus:
            append(folder, run_of(known, cell, failure=f"killed {HOSTILE}"))
            continue
        one = cell.test.sustained_s
        for run in [run_of(known, cell, rates(cell))] if one else runs_of(known, cell, rates(cell)):
            ended = run.model_copy(update={"wall_s": run.measured_s + 5, "job": "j"})
            append(folder, ended, samples(ended))
    return folder


def evaluation(models: list[Artifact], kernels: str = "host-native") -> Evaluation:
    """The first at a KLD of 0.004, each further one at two thirds of the one before."""
    random = np.random.default_rng(0)
    nll = random.exponential(2, (4, 16))
    return Evaluation(
        text="prose",
        text_sha256="0" * 64,
        context=32,
        windows=4,
        kernels=kernels,
        kernels_id="1" * 64,
        reference=Model(name="tiny-plain-f32", sha256="f" * 64, size_bytes=400_000_000, bits_per_weight=32),
        reference_nll=nll.tolist(),
        candidates=[
            Candidate(
                model=Model(name=m.name, sha256=m.sha256, size_bytes=m.size_bytes, bits_per_weight=m.bits_per_weight),
                kld=(0.004 * (2 / 3) ** number * random.lognormal(0, 0.3, (4, 16))).tolist(),
                nll=nll.tolist(),
                same_top=(random.random((4, 16)) > 0.05).tolist(),
            )
            for number, m in enumerate(models)
        ],
    )


def prompt_answered(*first_token_s: float) -> tuple[Campaign, list[Run]]:
    """A campaign with one prompt, answered in a process for each of the times to its first token."""
    plan = PLAN.model_copy(update={"models": MODELS[:1], "threads": [4], "masks": [()], "tests": [PROMPT]})
    known = campaign(plan, phone())
    (cell,) = plan.cells()
    runs = []
    for number, seconds in enumerate(first_token_s):
        answer = CompletionRecord(
            prompt_tokens=20, prompt_tps=20 / seconds, generated_tokens=7, generated_tps=3.5 + number / 100
        )
        changes = {"round": number, "completion": answer, "tokens_per_s": [answer.generated_tps]}
        runs.append(run_of(known, cell, [1.0]).model_copy(update={"bench": None, **changes}))
    return known, runs


def whole(folder: Path) -> ReportData:
    """Two phones, one of them called HOSTILE, and an evaluation that holds a model of that name too."""
    hostile = PLAN.model_copy(
        update={"models": [model(HOSTILE)], "options": [Options(), Options(cache_k=HOSTILE)], "masks": [()]}
    )
    write_whole(folder / "a", campaign(PLAN, phone()))
    write_whole(folder / "b", campaign(hostile, phone(id="1", model=HOSTILE, soc=HOSTILE, android=HOSTILE)))
    write_evaluation(evaluation([*MODELS, model(HOSTILE)], kernels=HOSTILE), folder / "quality")
    assert (folder / "a" / SAMPLES).is_dir()
    return load([folder])


def load_campaigns(places: Iterable[Path]) -> list[EvaluatedCampaign]:
    """Return every campaign at or below `places`, as a report shows it. Raises BadInput when there is none."""
    return [evaluate_campaign(folder) for folder in find_campaigns(places)]
