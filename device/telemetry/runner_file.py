"""The runner's samples file as text: its columns, and what Android's services answered after each sample."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from smoothdroid.device.info.battery import dumpsys_fields
from smoothdroid.device.info.cpu_list import cpu_names

Column = tuple[tuple[str, ...], Sequence[str]]
"""A column's kind and names, such as `("zone", "thermal_zone0", "BIG")`, and its text in each sample."""

Answers = dict[str, list[str]]
"""The lines read after a sample, by service; those from the command's files in /proc have the key ""."""

MOST_VALUES = 30_000_000
"""A limit for the values of a file: a phone with 250 sensors gives so many in a day."""

LONGEST_LINE = 4096  # characters of a line that a service or /proc printed


@dataclass(frozen=True)
class RunnerFile:
    """The texts of a samples file, by column; device/job/runner/sample.sh describes the format."""

    lines: Sequence[str]
    columns: Sequence[Column]
    ticks: Sequence[int]
    """The time of each sample, in 1/TICKS_PER_S of a second."""
    answers: Sequence[Answers]

    @classmethod
    def parse(cls, text: str) -> RunnerFile:
        """Split a file into columns, without lines that were cut or that a driver's odd value broke.

        Raises ValueError when there is no header, or more than a phone can have sampled.
        """
        lines = text.split("\n")[:-1]
        names = [tuple(line.split("\t")[1:]) for line in lines if line.startswith("column\t")]
        if ("time",) not in names:
            raise ValueError("the samples have no header")
        rows, answers = _rows(lines, len(names))
        refuse_too_much(len(names) + sum(len(cpu_names(name[-1])) for name in names), len(rows))
        columns = list(zip(names, zip(*rows, strict=True) if rows else [()] * len(names), strict=True))
        return cls(lines, columns, [int(row[0]) for row in rows], answers)

    def of_kind(self, kind: str) -> Iterator[Column]:
        """Yield the columns of a kind: `zone`, `frequency`, `battery`, ..."""
        return ((name, values) for name, values in self.columns if name[0] == kind)

    def first(self, kind: str) -> Sequence[str]:
        """Return the texts of the first column of a kind; an empty sequence where there is none."""
        return next((values for _, values in self.of_kind(kind)), ())

    def battery(self) -> Mapping[str, Sequence[str]]:
        """Return the battery's texts by sysfs file, from sysfs or else from Android's service."""
        if columns := {name[-1]: values for name, values in self.of_kind("battery")}:
            return columns
        texts: dict[str, list[str]] = {}
        for index, answers in enumerate(self.answers):
            for file, value in dumpsys_fields(answers.get("battery", [])).items():
                texts.setdefault(file, ["-"] * len(self.answers))[index] = value
        return dict(texts)

    def constants(self, kind: str) -> Iterator[tuple[str, int]]:
        """Yield the name and value of each line `KIND NAME VALUE`: `top` or `trip`."""
        for line in self.lines:
            if match := re.fullmatch(rf"{kind}\t([^\t]+)\t(-?[0-9]{{1,12}})", line):
                yield match[1], int(match[2])

    def peak_mb(self, name: str) -> float | None:
        """Return the largest value of a field of /proc/PID/status or smaps_rollup, in units of 2**20 bytes."""
        matches = (re.fullmatch(rf"/proc/[\w/]+:{name}:[ \t]+([0-9]{{1,12}}) kB", line) for line in self.lines)
        return max((int(match[1]) / 1024 for match in matches if match), default=None)


def refuse_too_much(columns: int, rows: int) -> None:
    """Raise ValueError for more values than a phone can have sampled."""
    if rows * columns > MOST_VALUES:
        raise ValueError(f"{rows} samples of {columns} values are more than a phone takes")


def from_hal(answers: Answers) -> str:
    """Return the lines of thermalservice about now: its cached temperatures and status can be minutes old."""
    _, _, now = "\n".join(answers.get("thermalservice", [])).partition("Current temperatures from HAL:")
    return now.partition("\nCurrent ")[0]


def _rows(lines: Iterable[str], width: int) -> tuple[list[list[str]], list[Answers]]:
    """Split the lines into the fields of each sample, and the lines that followed it."""
    rows: list[list[str]] = []
    answers: list[Answers] = []
    section: list[str] | None = None
    for line in lines:
        kind, _, rest = line.partition("\t")
        if kind == "sample":
            row, section = rest.split("\t"), None
            if len(row) == width and re.fullmatch("[0-9]{1,15}", row[0]):
                rows.append(row)
                answers.append({"": []})
                section = answers[-1][""]
        elif kind == "service":
            section = answers[-1].setdefault(rest, []) if answers else None
        elif section is not None and len(line) <= LONGEST_LINE:
            section.append(line)
    return rows, answers
