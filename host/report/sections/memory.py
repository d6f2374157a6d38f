"""The section of memory use: weights, KV cache and peak PSS of each model."""

from __future__ import annotations

from collections.abc import Sequence

from smoothdroid.host.report.data.memory import MemoryUse
from smoothdroid.host.report.data.numbers import mebibytes
from smoothdroid.host.report.data.phone_results import PhoneResults
from smoothdroid.host.report.data.report_data import ReportData
from smoothdroid.host.report.sections.section import (
    NOT_MEASURED,
    SectionContent,
    SectionTable,
    TableCell,
    cell_or_missing,
)

MIB = 2**20
NUMBERS = ("file", "weights", "KV cache", "peak PSS", "share of the phone's memory")
HEADS = ("model", *NUMBERS, "measured in")


def build(data: ReportData) -> SectionContent | None:
    """Build a table for each phone on which memory was measured; None where no speed was measured."""
    tables = []
    sentences = ["The run of each model with the highest peak. PSS counts mapped weights as far as they were read."]
    for phone, used in data.memory:
        if any(one.measured for one in used):
            tables.append(table(phone, used))
        elif used:
            sentences.append(f"{phone.title}: {NOT_MEASURED}.")
    return SectionContent(sentences, tables) if data.phones else None


def table(phone: PhoneResults, used: Sequence[MemoryUse]) -> SectionTable:
    """Return a table with a row for each model, and the source of each figure."""
    caption = f"Memory use on {phone.title} in MiB; the phone has {phone.memory_mb} MiB"
    return SectionTable(caption, HEADS, [_row(phone, one) for one in used], frozenset(NUMBERS))


def _row(phone: PhoneResults, used: MemoryUse) -> list[TableCell]:
    share = None if used.pss_mb is None else f"{used.pss_mb / phone.memory_mb:.1%}"
    return [
        TableCell(used.file.name),
        TableCell(f"{used.file.size_bytes / MIB:.0f}", "the file's size", used.file.size_bytes),
        cell_or_missing(mebibytes(used.weights_mb), "llama.cpp's log", used.weights_mb),
        cell_or_missing(mebibytes(used.cache_mb), "llama.cpp's log", used.cache_mb),
        cell_or_missing(mebibytes(used.pss_mb), "the phone's kernel", used.pss_mb),
        cell_or_missing(share, f"of {phone.memory_mb} MiB", used.pss_mb),
        TableCell(used.row.label, used.row.source) if used.row else cell_or_missing(None),
    ]
