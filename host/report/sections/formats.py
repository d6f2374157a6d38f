"""Size, memory, speed and accuracy of FP16, Q8_0 and SmoothQuant Q8_0, each figure with its source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from smoothdroid.host.model.evaluate.record import Evaluation
from smoothdroid.host.report.data import quality
from smoothdroid.host.report.data.model_files import ASKED_FOR, Form
from smoothdroid.host.report.data.phone_results import Best, Group, burst, headline, prefill, question, setting, source
from smoothdroid.host.report.data.rows import Row
from smoothdroid.host.report.sections.memory import taken
from smoothdroid.host.report.sections.section import NOT_VALID, Cell, Table, cell
from smoothdroid.host.report.tables.cells import certainty, number
from smoothdroid.host.report.tables.quality import with_error
from smoothdroid.host.results.statistics import Interval

OTHER = "Models of which nothing tells what they were made from"


Accuracy = Mapping[str, list[Cell]]
"""Model's hash -> mean KLD, perplexity, same top-1."""


def accuracy(evaluations: Iterable[Evaluation]) -> Accuracy:
    """Of the first evaluation that has a model; what it is worth under other kernels, the part on quality says."""
    told: dict[str, list[Cell]] = {}
    for found in evaluations:
        where = f"quality-{found.id}"
        for row in quality.rows(found):
            if row.figures:
                figures = row.figures
                cells = [_interval(figures.kld, where), _interval(row.perplexity, where)]
                told.setdefault(row.model.sha256, [*cells, _interval(figures.same_top, where, 100)])
    return told


def tables(group: Group, accuracy: Accuracy, known: Sequence[Form]) -> list[Table]:
    """A table for each checkpoint that this phone measured a form of."""
    planned = {model.sha256 for section in group.sections for model in section.campaign.plan.models}
    elsewhere = {form.sha256 for form in known if form.measured} - planned
    here = [form for form in known if form.sha256 not in elsewhere]
    told = dict.fromkeys(form.source for form in here if form.sha256 in planned and form.label)
    found = [_table(group, accuracy, [form for form in here if form.source == name], name) for name in told]
    other = [form for form in here if form.sha256 in planned and not form.label]
    return [*found, *([_table(group, accuracy, other, OTHER)] if other else [])]


def _table(group: Group, accuracy: Accuracy, forms: Sequence[Form], name: str) -> Table:
    tests = [headline(group.rows, of_prefill=True), headline(group.rows, of_prefill=False)]
    found = group.bests
    peaks = {one.form.sha256: one for one in taken(group, forms)}
    rows = []
    for label, form in _ordered(forms):
        of_form = [row for row in group.rows if form and row.judged.cell.model_sha256 == form.sha256]
        speeds = [
            _speed(_best(found, form, test), [row for row in of_form if burst(row) and prefill(row) == of_prefill])
            for test, of_prefill in zip(tests, (True, False), strict=True)
        ]
        peak = peaks.get(form.sha256) if form else None
        rows.append(
            [
                Cell(label, form.name if form and form.name != label else ""),
                _size(form),
                cell(
                    f"{peak.pss_mb:.0f}" if peak and peak.pss_mb else None,
                    f"peak PSS, {source(peak.row)}" if peak and peak.row else "",
                    peak.pss_mb if peak else None,
                ),
                *speeds,
                *(accuracy.get(form.sha256 if form else "") or [cell(None)] * 3),
            ]
        )
    heads = (
        "form",
        "size, MB",
        "memory, MiB",
        f"prefill {tests[0] or ''}, tokens/s".replace(" ,", ","),
        f"decode {tests[1] or ''}, tokens/s".replace(" ,", ","),
        "mean KLD",
        "perplexity",
        "same top-1, %",
    )
    return Table(f"{name} on {group.title}", heads, rows, frozenset(heads[1:]))


def _ordered(forms: Sequence[Form]) -> Iterator[tuple[str, Form | None]]:
    """Those that a reader asks for first, there or not; then all others."""
    for label in ASKED_FOR if any(form.label for form in forms) else ():
        there: list[Form | None] = [form for form in forms if form.label == label]
        yield from ((label, form) for form in there or [None])
    for form in forms:
        if form.label not in ASKED_FOR:
            yield form.label or form.name, form


def _size(form: Form | None) -> Cell:
    if form is None:
        return cell(None)
    return Cell(f"{form.size_bytes / 1e6:.1f}", f"file {form.sha256[:12]}", form.size_bytes)


def _best(found: Iterable[Best], form: Form | None, test: str | None) -> Best | None:
    fits = (
        best
        for best in found
        if form and best.row.judged.cell.model_sha256 == form.sha256 and question(best.row) == test
    )
    return next(fits, None)


def _speed(best: Best | None, tried: Iterable[Row]) -> Cell:
    """`tried`: what was asked for of this form. Measured and not believed is not the same as not measured."""
    if best is None:
        verdicts = dict.fromkeys(row.verdict for row in tried if row.tokens_per_s and not row.valid)
        return Cell(NOT_VALID, "; ".join(verdicts)) if verdicts else cell(None)
    rate = best.rate
    note = f"{certainty(rate)}; {setting(best.row)}; {source(best.row)}"
    return Cell(number(rate.mean), note, rate.mean)


def _interval(found: Interval, where: str, factor: float = 1) -> Cell:
    return Cell(with_error(factor * found.mean, factor * found.half), where, found.mean)
