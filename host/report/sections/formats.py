"""The section that compares FP16, Q8_0 and SmoothQuant Q8_0: size, memory, speed and quality, each with its source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from smoothdroid.host.report.data.memory import MemoryUse
from smoothdroid.host.report.data.model_files import MAIN_FORMATS, ModelFile
from smoothdroid.host.report.data.numbers import certainty, number, with_error
from smoothdroid.host.report.data.phone_results import (
    PhoneResults,
    main_test,
)
from smoothdroid.host.report.data.quality import Quality
from smoothdroid.host.report.data.report_data import ReportData
from smoothdroid.host.report.sections.section import (
    NONE_VALID,
    SectionContent,
    SectionTable,
    TableCell,
    cell_or_missing,
)

UNKNOWN = "Models whose checkpoint is unknown"

Accuracy = Mapping[str, list[TableCell]]
"""Cells of mean KLD, perplexity and same top-1, by the model's hash."""


def build(data: ReportData) -> SectionContent | None:
    """Build the tables of every phone; None where no speed was measured."""
    tables = list(format_tables(data))
    sentences = ["Each model file at its own best valid setting. The small print below a number names its source."]
    sentences += [f"{quality.name}: {quality.conditions}" for quality in data.evaluations]
    return SectionContent(sentences, tables) if tables else None


def format_tables(data: ReportData) -> Iterator[SectionTable]:
    """Yield a table for each phone and each checkpoint that it measured a file of."""
    accuracy = _accuracy(data.evaluations)
    for phone, used in data.memory:
        measured_elsewhere = {file.sha256 for file in data.model_files if file.measured} - phone.models.keys()
        files = [file for file in data.model_files if file.sha256 not in measured_elsewhere]
        memory = {one.file.sha256: one for one in used}
        known = (file.checkpoint for file in files if file.sha256 in phone.models and file.format)
        for checkpoint in dict.fromkeys(known):
            of_checkpoint = [file for file in files if file.checkpoint == checkpoint]
            yield _table(phone, accuracy, memory, of_checkpoint, checkpoint)
        if unknown := [file for file in files if file.sha256 in phone.models and not file.format]:
            yield _table(phone, accuracy, memory, unknown, UNKNOWN)


def _accuracy(evaluations: Iterable[Quality]) -> Accuracy:
    """Return the figures of the first evaluation that has a model; the section on quality shows those of others."""
    known: dict[str, list[TableCell]] = {}
    for quality in evaluations:
        for row in quality.rows:
            if distance := row.distance:
                figures = ((distance.kld, 1), (row.perplexity, 1), (distance.same_top, 100))
                cells = [TableCell(with_error(one, factor), quality.name, one.mean) for one, factor in figures]
                known.setdefault(row.model.sha256, cells)
    return known


def _table(
    phone: PhoneResults, accuracy: Accuracy, memory: Mapping[str, MemoryUse], files: Sequence[ModelFile], name: str
) -> SectionTable:
    tests = [main_test(phone.rows, of_prefill=True), main_test(phone.rows, of_prefill=False)]
    rows = [
        [
            TableCell(label, file.name if file and file.name != label else ""),
            _size(file),
            _memory(memory.get(file.sha256) if file else None),
            _speed(phone, file, tests[0], of_prefill=True),
            _speed(phone, file, tests[1], of_prefill=False),
            *(accuracy.get(file.sha256 if file else "") or [cell_or_missing(None)] * 3),
        ]
        for label, file in _ordered(files)
    ]
    speeds = (f"{' '.join(filter(None, pair))}, tokens/s" for pair in zip(("prefill", "decode"), tests, strict=True))
    heads = ("format", "size, MB", "memory, MiB", *speeds, "mean KLD", "perplexity", "same top-1, %")
    return SectionTable(f"{name} on {phone.title}", heads, rows, frozenset(heads[1:]))


def _ordered(files: Sequence[ModelFile]) -> Iterator[tuple[str, ModelFile | None]]:
    """Yield the main formats, with None for one that is missing, then all other files."""
    for label in MAIN_FORMATS if any(file.format for file in files) else ():
        matching: list[ModelFile | None] = [file for file in files if file.format == label]
        yield from ((label, file) for file in matching or [None])
    for file in files:
        if file.format not in MAIN_FORMATS:
            yield file.format or file.name, file


def _size(file: ModelFile | None) -> TableCell:
    if file is None:
        return cell_or_missing(None)
    return TableCell(f"{file.size_bytes / 1e6:.1f}", f"file {file.sha256[:12]}", file.size_bytes)


def _memory(used: MemoryUse | None) -> TableCell:
    if not (used and used.row and used.pss_mb):
        return cell_or_missing(None)
    return TableCell(f"{used.pss_mb:.0f}", f"peak PSS, {used.row.source}", used.pss_mb)


def _speed(phone: PhoneResults, file: ModelFile | None, test: str | None, *, of_prefill: bool) -> TableCell:
    """Return the best setting of a file in a test; `none valid` where all its cells were rejected."""
    for best in phone.best_settings:
        if file and best.row.judged.cell.model_sha256 == file.sha256 and best.row.label == test:
            note = f"{certainty(best.rate)}; {best.row.setting}; {best.row.source}"
            return TableCell(number(best.rate.mean), note, best.rate.mean)
    rejected = dict.fromkeys(
        row.verdict
        for row in phone.rows
        if file and row.judged.cell.model_sha256 == file.sha256 and row.tokens_per_s and not row.valid
        if row.is_burst and row.is_prefill == of_prefill
    )
    return TableCell(NONE_VALID, "; ".join(rejected)) if rejected else cell_or_missing(None)
