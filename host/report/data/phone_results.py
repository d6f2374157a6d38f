"""A phone over one transport: all of its campaigns together, and which of its settings is the best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from smoothdroid.host.report.data.rows import NOT_A_SPEED, Row, Section
from smoothdroid.host.results.statistics import Interval, fastest

WORTH_SAYING = 3  # settings named that are as good as the best


@dataclass(frozen=True)
class Group:
    """What a reader calls a phone. Android schedules an app otherwise than adb's shell: each transport is one."""

    sections: list[Section]
    apart: str = ""
    """What tells it from another phone of its model."""

    @property
    def title(self) -> str:
        """Google Pixel 8 (zuma), over adb."""
        return self.sections[0].title + self.apart

    @property
    def emulated(self) -> bool:
        """Then its speeds are none."""
        return self.sections[0].campaign.phone.emulated

    @property
    def caveat(self) -> str:
        """What a reader must know before believing a figure, or nothing."""
        return NOT_A_SPEED if self.emulated else ""

    @property
    def memory_mb(self) -> int:
        """Of the phone, in MiB."""
        return self.sections[0].campaign.phone.memory_mb

    @property
    def rows(self) -> list[Row]:
        """Of all its campaigns."""
        return [row for section in self.sections for row in section.rows]

    @cached_property
    def bests(self) -> list[Best]:
        """The best setting of each model in each test that has a valid one."""
        return list(_bests(self.rows))


@dataclass(frozen=True)
class Best:
    """The fastest setting of a model in one test, among those that can be believed."""

    row: Row
    rate: Interval
    """Its tokens/s; the interval accounts for the choice among all valid settings."""
    alike: list[Row]
    """Valid settings that are not significantly slower, fastest first."""
    tried: int
    """Settings that were measured, valid or not."""


def groups(sections: Iterable[Section]) -> list[Group]:
    """In the order in which they first come."""
    found: dict[tuple[str, str], list[Section]] = {}
    for section in sections:
        campaign = section.campaign
        found.setdefault((campaign.phone.id, campaign.transport), []).append(section)
    titles = Counter(members[0].title for members in found.values())
    return [
        Group(members, f" [{phone[:6]}]" if titles[members[0].title] > 1 else "")
        for (phone, _), members in found.items()
    ]


def question(row: Row) -> str:
    """The test, and the depth that it begins at: what settings are compared within."""
    depth = row.judged.cell.options.depth
    return f"{row.test} at depth {depth}" if depth else row.test


def burst(row: Row) -> bool:
    """Neither kept up for minutes nor the answer to a prompt."""
    test = row.judged.cell.test
    return not test.sustained_s and not test.prompt


def prefill(row: Row) -> bool:
    """Else it is decode."""
    return row.judged.cell.test.n_prompt > 0


def _bests(rows: Iterable[Row]) -> Iterator[Best]:
    """One for each model and question that has a valid setting."""
    asked: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if not row.judged.cell.test.sustained_s:
            asked.setdefault((row.judged.cell.model_sha256, row.model, question(row)), []).append(row)
    for tried in asked.values():
        valid = [row for row in tried if row.valid]
        if valid:
            best = fastest([row.judged.means for row in valid])
            alike = [valid[index] for index in best.alike]
            yield Best(valid[best.index], best.rate, alike, sum(row.tokens_per_s is not None for row in tried))


def headline(rows: Iterable[Row], *, of_prefill: bool) -> str | None:
    """The question that most models have a valid answer to; of several the longest, at the least depth."""
    found = [row for row in rows if row.valid and burst(row) and prefill(row) == of_prefill]
    models: dict[str, set[str]] = {}
    for row in found:
        models.setdefault(question(row), set()).add(row.judged.cell.model_sha256)
    by_question = {question(row): row.judged.cell for row in found}

    def worth(name: str) -> tuple[int, int, int]:
        cell = by_question[name]
        return len(models[name]), -cell.options.depth, cell.test.n_prompt + cell.test.n_gen

    return max(by_question, key=worth, default=None)


def setting(row: Row) -> str:
    """2 threads on CPUs big, cache k q8_0."""
    cell = row.judged.cell
    options = str(cell.options.model_copy(update={"depth": 0}))
    threads = f"{row.threads} thread{'s' if row.threads > 1 else ''}"
    return ", ".join(filter(None, [f"{threads} on CPUs {row.cpus}" if cell.cpus else threads, options]))


def source(row: Row) -> str:
    """Which record a figure is from: what `grep` finds in runs.jsonl."""
    return f"cell {row.judged.runs[0].fingerprint}" if row.judged.runs else ""


def reasons(rows: Iterable[Row]) -> list[tuple[str, int, str, str]]:
    """Why there is no figure to be believed: the check, how many cells, an example, what to do. Most cells first."""
    counts: Counter[str] = Counter()
    examples: dict[str, tuple[str, str]] = {}
    for row in rows:
        for check, found, advice in _reasons(row):
            counts[check] += 1
            examples.setdefault(check, (found, advice))
    return [(check, count, *examples[check]) for check, count in counts.most_common()]


def _reasons(row: Row) -> list[tuple[str, str, str]]:
    if row.judged.failure:
        kind, _, why = row.judged.failure.partition(": ")
        again = "the same `smoothdroid bench` again measures what is missing"
        return [(kind, f"{row.model} {row.test}, {setting(row)}" + (f": {why}" if why else ""), again)]
    found = {f.check: f for f in reversed(row.judged.verdict.findings) if f.invalid}
    where = f"{row.model} {row.test}, {setting(row)}"
    return [(f.check, f"{where}: {f.found}", f.advice) for f in reversed(found.values())]
