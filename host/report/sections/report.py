"""Results -> what a report says, part by part, whatever it is written as."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from smoothdroid.host.model.evaluate.record import Evaluation
from smoothdroid.host.report.data import quality, reproduce
from smoothdroid.host.report.data.model_files import Form, forms, pairs
from smoothdroid.host.report.data.phone_results import (
    WORTH_SAYING,
    Best,
    Group,
    groups,
    headline,
    prefill,
    question,
    reasons,
    setting,
    source,
)
from smoothdroid.host.report.data.report_data import Inputs
from smoothdroid.host.report.data.rows import NOT_A_SPEED, Row, Section
from smoothdroid.host.report.plots import quality_speed as distance
from smoothdroid.host.report.plots.figure import Picture
from smoothdroid.host.report.plots.phones import common, side_by_side
from smoothdroid.host.report.plots.sustained import over_time
from smoothdroid.host.report.plots.threads import threads
from smoothdroid.host.report.sections import formats as measured
from smoothdroid.host.report.sections import memory, predicted
from smoothdroid.host.report.sections.section import NOTHING, Cell, Part, Table, cell, figure
from smoothdroid.host.report.tables import quality as quality_tables
from smoothdroid.host.report.tables.cells import Column, certainty, columns, number, span, with_interval
from smoothdroid.host.results.cpu_masks import ANY
from smoothdroid.host.results.record import Campaign
from smoothdroid.host.results.statistics import CONFIDENCE, Interval

PICTURES = 8
"""Shown at once in a part; the others when they are asked for."""

OPEN_ROWS = 40
"""Of all tables of cells together: with more, each is folded."""

WINNER = (
    "The best of many settings is the luckiest of the good ones. Its interval accounts for that. It, or a setting "
    f"listed as good, is the truly fastest one with a probability of {CONFIDENCE:.0%}."
)


@dataclass(frozen=True)
class Report:
    """All of it."""

    title: str
    caveats: list[str]
    """What must be known before any figure is believed."""
    damage: list[str]
    parts: list[Part]

    @property
    def pictures(self) -> list[Picture]:
        """Those of all parts."""
        return [picture for part in self.parts for picture in (*part.pictures, *part.more)]


def report(inputs: Inputs) -> Report:
    """Of everything that was found."""
    found, known = groups(inputs.sections), forms(inputs)
    damage = list(inputs.damage)
    parts = [
        _verdict(found),
        _invalid(found),
        _speed(inputs.sections),
        _sustained(inputs.sections, damage),
        _predicted(found),
        _forms(found, inputs.evaluations, known),
        _quality(inputs.evaluations, found, known),
        _memory(found, known),
        _energy(found),
        _phones(found),
        _cells(inputs.sections),
        _how(inputs),
    ]
    phones = dict.fromkeys(group.sections[0].campaign.phone.model for group in found)
    emulated = ", ".join(group.title for group in found if group.emulated)
    title = ", ".join(phones) or "quality"
    return Report(
        f"smoothdroid: {title}",
        [f"{emulated}: {NOT_A_SPEED}"] if emulated else [],
        damage,
        [part for part in parts if part],
    )


def _verdict(found: Sequence[Group]) -> Part:
    tables: list[Table] = []
    said: list[str] = []
    for group in found:
        best = sorted(group.bests, key=lambda one: (one.row.model, not prefill(one.row), question(one.row)))
        if not best:
            said.append(
                f"{group.title}: no valid cell. What was measured cannot be believed, or nothing was; see below."
            )
            continue
        tables += _best_tables(group, best)
        said += _headlines(group, best)
    if not found:
        said.append("No speed was measured: these results hold evaluations only.")
    if any(one.rate.n > 1 for group in found for one in group.bests):
        said.append(WINNER)
    return Part("Verdict", said, tables)


def _best_tables(group: Group, best: Sequence[Best]) -> Iterator[Table]:
    """One; where that would be too long, one of each model's main tests, and all of it folded."""
    heads = ("model", "test", "tokens/s", f"{CONFIDENCE:.0%} interval", "best setting", "as good")
    numbers = frozenset({"tokens/s", f"{CONFIDENCE:.0%} interval"})
    caption = f"{group.title} ({group.caveat})" if group.caveat else group.title
    if len(best) > OPEN_ROWS:
        main = {headline(group.rows, of_prefill=True), headline(group.rows, of_prefill=False)}
        first = [one for one in best if question(one.row) in main]
        yield Table(caption, heads, [_best_row(one) for one in first], numbers, folded=len(first) > OPEN_ROWS)
        caption = f"{caption}: every test and depth"
    yield Table(caption, heads, [_best_row(one) for one in best], numbers, folded=len(best) > OPEN_ROWS)


def _headlines(group: Group, best: Sequence[Best]) -> Iterator[str]:
    for of_prefill, what in ((True, "prefill"), (False, "decode")):
        fitting = [one for one in best if prefill(one.row) == of_prefill]
        if fitting:
            one = max(fitting, key=lambda each: each.rate.mean)
            emulated = f" ({group.caveat})" if group.caveat else ""
            confidence = f"{CONFIDENCE:.0%} interval " if one.rate.n > 1 else ""
            yield (
                f"{group.title}: fastest {what} {number(one.rate.mean)} tokens/s, {confidence}{certainty(one.rate)}: "
                f"{one.row.model}, {question(one.row)}, {setting(one.row)}{emulated}."
            )


def _best_row(one: Best) -> list[Cell]:
    named = "; ".join(setting(row) for row in one.alike[:WORTH_SAYING])
    more = len(one.alike) - WORTH_SAYING
    alike = f"{named}; and {more} more" if more > 0 else named or "none"
    return [
        Cell(one.row.model),
        Cell(question(one.row)),
        Cell(number(one.rate.mean), value=one.rate.mean),
        _range(one.rate),
        Cell(setting(one.row), source(one.row)),
        Cell(alike, f"of {one.tried} measured", len(one.alike)),
    ]


def _range(rate: Interval) -> Cell:
    if rate.n == 1:
        return Cell("-", "one process")
    return Cell(span(rate), f"{rate.n} processes", rate.low)


def _invalid(found: Sequence[Group]) -> Part | None:
    tables = []
    for group in found:
        told = reasons(group.rows)
        if told:
            rows = [
                [Cell(check), Cell(str(count), value=count), Cell(example), Cell(advice)]
                for check, count, example, advice in told
            ]
            valid = sum(row.valid for row in group.rows)
            caption = f"{group.title}: {len(group.rows) - valid} of {len(group.rows)} cells"
            tables.append(Table(caption, ("why", "cells", "for example", "what to do"), rows, frozenset({"cells"})))
    said = ["Kept, shown in brackets or hollow, and in no mean. A cell can have several reasons."]
    return Part("What is not to be believed, and why", said, tables) if tables else None


def _speed(sections: list[Section]) -> Part | None:
    if not sections:
        return None
    pictures = list(threads(sections))
    said = [] if pictures else ["No burst was measured: there is nothing to draw."]
    if pictures and not any(row.valid for section in sections for row in section.rows):
        said.append("No cell is valid: every point is hollow.")
    return Part("Tokens per second over threads", said, (), pictures[:PICTURES], pictures[PICTURES:])


def _sustained(sections: Sequence[Section], damage: list[str]) -> Part | None:
    pictures = list(over_time(sections, damage))
    if not pictures:
        return None
    said = ["Slowing down is what is asked here, not a fault. Time is that of the repetitions."]
    return Part("Kept up for minutes", said, (), pictures[:PICTURES], pictures[PICTURES:])


def _predicted(found: Sequence[Group]) -> Part | None:
    known = [(group, held) for group in found if (held := predicted.held(group))]
    if not known:
        return None
    said = [
        "The best valid setting of each, beside what `smoothdroid predict` expects of this model on this SoC. The "
        "interval is wide, and no result can pass the ceiling: what does was not measured as it was meant."
    ]
    tables = [predicted.table(group, held) for group, held in known]
    pictures = [predicted.picture(count, group, held) for count, (group, held) in enumerate(known, 1)]
    return Part("Measured against predicted", said, tables, pictures[:PICTURES], pictures[PICTURES:])


def _forms(found: Sequence[Group], evaluations: Sequence[Evaluation], known: Sequence[Form]) -> Part | None:
    accuracy = measured.accuracy(evaluations)
    tables = [table for group in found for table in measured.tables(group, accuracy, known)]
    said = ["Each form at its own best valid setting. Below each figure: where it is from."]
    said += [f"quality-{one.id}: {quality.conditions(one)}" for one in evaluations] if tables else []
    return Part("FP16, Q8_0 and SmoothQuant Q8_0, measured", said, tables) if tables else None


def _quality(evaluations: Sequence[Evaluation], found: Sequence[Group], known: list[Form]) -> Part | None:
    if not evaluations:
        return None
    tables, said = [], []
    for one in evaluations:
        rows = [[Cell(name), *map(figure, figures)] for name, *figures in quality_tables.cells(one)]
        caption = f"Distance from {one.reference.name} (quality-{one.id})"
        tables.append(Table(caption, quality_tables.HEAD, rows, frozenset(quality_tables.HEAD[1:])))
        # Smoothed against plain is what is asked; where there is no such pair, each against the first.
        joined = [quality.against(one, plain, smooth) for plain, smooth in pairs(one, known)]
        said += [quality.conditions(one), *(joined or quality_tables.verdicts(one))]
    said.append("An arrow leads from a plain model to its smoothed form. A figure holds for its kernels.")
    pictures = [*distance.over_bytes(evaluations, known), *distance.over_speed(evaluations, found, known)]
    return Part("Quality against size and speed", said, tables, pictures[:PICTURES], pictures[PICTURES:])


def _memory(found: Sequence[Group], known: Sequence[Form]) -> Part | None:
    tables, pictures = [], []
    said = ["Of each model the run that took most. PSS counts mapped weights as far as they were read."]
    for count, group in enumerate(found, 1):
        taken = list(memory.taken(group, known))
        if any(one.weights_mb is not None or one.pss_mb is not None for one in taken):
            tables.append(memory.table(group, taken))
        elif taken:
            said.append(f"{group.title}: {NOTHING}.")
        if drawn := memory.picture(count, group, taken):
            pictures.append(drawn)
    return Part("Memory", said, tables, pictures[:PICTURES], pictures[PICTURES:]) if found else None


def _energy(found: Sequence[Group]) -> Part | None:
    if not found:
        return None
    rows = [
        [
            Cell(group.title),
            Cell(row.model),
            Cell(question(row)),
            Cell(setting(row)),
            Cell(with_interval(joules), source(row), joules.mean),
        ]
        for group in found
        for row in group.rows
        if (joules := row.judged.joules_per_token) is not None and row.valid
    ]
    heads = ("phone", "model", "test", "setting", "J/token")
    said = ["Of the whole phone, on battery; cells that are valid, and in which nothing charged."]
    if not rows:
        return Part("Energy per token", [f"J/token: {NOTHING}. It takes a valid cell, on battery, unplugged."])
    table = Table("Joules per token", heads, rows, frozenset({"J/token"}), folded=len(rows) > OPEN_ROWS)
    return Part("Energy per token", said, [table])


def _phones(found: Sequence[Group]) -> Part | None:
    tests = common(found)
    if not tests:
        return None
    tables = []
    for test in tests:
        best = [{one.row.model: one for one in group.bests if question(one.row) == test} for group in found]
        models = list(dict.fromkeys(model for one in best for model in one))
        rows = [[Cell(model), *(_of_phone(one.get(model)) for one in best)] for model in models]
        heads = ("model", *(group.title for group in found))
        tables.append(Table(f"{test}: tokens/s of the best valid setting", heads, rows, frozenset(heads[1:])))
    pictures = list(side_by_side(found))
    return Part("Phones side by side", (), tables, pictures[:PICTURES], pictures[PICTURES:])


def _of_phone(one: Best | None) -> Cell:
    if one is None:
        return cell(None)
    return Cell(number(one.rate.mean), f"{certainty(one.rate)}; {setting(one.row)}", one.rate.mean)


def _cells(sections: Sequence[Section]) -> Part | None:
    if not sections:
        return None
    many = sum(len(section.rows) for section in sections) > OPEN_ROWS
    tables = []
    for section in sections:
        shown = columns(section)
        heads = [column.head for column in shown]
        numbers = frozenset(column.head for column in shown if not column.left)
        for test, rows in _by_test(section, apart=many):
            lines = [[_shown(row, column) for column in shown] for row in rows]
            caption = f"{section.title}{test}: {len(rows)} cells"
            tables.append(Table(caption, heads, lines, numbers, folded=many))
    notes = dict.fromkeys(note for section in sections for note in section.notes)
    return Part("Every cell", [*notes], tables)


def _by_test(section: Section, *, apart: bool) -> list[tuple[str, list[Row]]]:
    if not apart:
        return [("", section.rows)]
    tests = dict.fromkeys(row.test for row in section.rows)
    return [(f", {test}", [row for row in section.rows if row.test == test]) for test in tests]


def _shown(row: Row, column: Column) -> Cell:
    text, doubtful = column.cell(row), row.tokens_per_s is not None and not row.valid
    return Cell(text, doubtful=doubtful) if column.left else figure(text, doubtful=doubtful)


def _how(inputs: Inputs) -> Part:
    tables = [table for section in inputs.sections for table in _campaign(section)]
    commands = [reproduce.bench(section.campaign) for section in inputs.sections]
    for found in inputs.evaluations:
        tables.append(_evaluation(found))
        commands.append(reproduce.evaluate(found))
    said = [
        "Repetitions of one process are independent as far as the checks can see; an interval is Student's t over "
        "them, and holds for that evening, that phone, that room.",
        "The commands below measure it again, with the same files, build and phone. An evaluation's record holds "
        "neither folders nor a target: put yours.",
    ]
    return Part("How it was measured", said, tables, commands=commands)


def _campaign(section: Section) -> Iterable[Table]:
    campaign = section.campaign
    phone, plan = campaign.phone, campaign.plan
    system = f"Android {phone.android}, kernel {phone.kernel}" if phone.android else f"kernel {phone.kernel}"
    facts = {
        "began": f"{campaign.started_at:%Y-%m-%d %H:%M %Z}",
        "phone": f"{phone.model}, {phone.soc}, {system}, {phone.memory_mb} MiB; id {phone.id}",
        "CPUs": " + ".join(map(str, phone.clusters)),
        "reached": f"{campaign.transport} ({campaign.target})",
        "smoothdroid": campaign.smoothdroid,
        "llama.cpp": f"{campaign.build_commit}, build {campaign.build_id} ({campaign.build_isa})",
        "why this build": campaign.build_reason,
        **{f"{tool}, sha256": sha256 for tool, sha256 in campaign.build_tools.items()},
        "threads": ", ".join(map(str, plan.threads)),
        "tests": ", ".join(dict.fromkeys(test.name for test in plan.tests)),
        "CPU masks": ", ".join(dict.fromkeys(row.cpus for row in section.rows)) or ANY,
        "protocol": _protocol(campaign),
    }
    yield _facts(f"{section.title}: campaign {campaign.id}", facts)
    heads = ("model", "sha256", "bytes", "bits per weight", "made from")
    rows = [
        [
            Cell(model.name),
            Cell(model.sha256),
            Cell(str(model.size_bytes), value=model.size_bytes),
            Cell(f"{model.bits_per_weight:.2f}", value=model.bits_per_weight),
            Cell(_made(model.manifest)),
        ]
        for model in plan.models
    ]
    yield Table(f"Models of campaign {campaign.id}", heads, rows, frozenset({"bytes", "bits per weight"}))


def _protocol(campaign: Campaign) -> str:
    asked = campaign.plan.protocol
    said = [
        f"{asked.rounds} processes a cell, in rounds",
        f"at least {asked.repetitions} repetitions each, after a warm-up",
        f"seed {asked.seed}",
    ]
    if asked.until is not None:
        said.append(f"more rounds until ±{asked.until:.3g} of the mean, for at most {asked.budget_s} s a cell")
    if asked.cooling:
        cooling = asked.cooling
        limit = (
            f"{cooling.celsius:g} °C"
            if cooling.celsius is not None
            else f"{cooling.above_start or 0:g} °C above the start"
        )
        said.append(f"cooled to {limit}, for at most {cooling.within_s} s")
    return ", ".join(said)


def _made(manifest: dict[str, object] | None) -> str:
    recipe = manifest.get("recipe") if manifest else None
    if not isinstance(recipe, dict):
        return "no manifest beside the file"
    origin, smoothing = recipe.get("source"), recipe.get("smoothing")
    told = [str(origin.get("name")) if isinstance(origin, dict) else "", str(recipe.get("quantisation") or "")]
    if isinstance(smoothing, dict):
        told += [
            f"{name.replace('_', ' ')} {smoothing[name]}"
            for name in ("alpha", "n_samples", "seq_len")
            if name in smoothing
        ]
    return ", ".join(filter(None, told))


def _evaluation(found: Evaluation) -> Table:
    facts = {
        "text": f"{found.text}, sha256 {found.text_sha256}",
        "windows": f"{found.windows} of {found.context} tokens, the second half of each predicted",
        "kernels": f"{found.kernels} ({found.kernels_id})",
        "reference's kernels": found.reference_kernels or "",
        **{f"{m.name}, sha256": m.sha256 for m in (found.reference, *(c.model for c in found.candidates))},
    }
    return _facts(f"Evaluation {found.id}", facts)


def _facts(caption: str, facts: dict[str, str]) -> Table:
    return Table(
        caption, ("what", "is"), [[Cell(what), Cell(told)] for what, told in facts.items() if told], sortable=False
    )
