"""Lists of CPUs as the kernel writes them: `0-3,8`."""

from __future__ import annotations

import re

from smoothdroid.device.info.cpu import MOST_CPUS

CPU_LIST = r"[0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{1,4}(-[0-9]{1,4})?)*"
"""A regular expression for such a list."""

MOST_LISTED = 10_000
LONGEST_LIST = 4096  # characters


def parse_cpus(text: str) -> list[int]:
    """Parse a list of CPUs into their numbers. Raises ValueError for anything else, and for endless lists."""
    cpus: list[int] = []
    if len(text) <= LONGEST_LIST and re.fullmatch(CPU_LIST, text):
        for item in text.split(","):
            first, _, last = item.partition("-")
            members = range(int(first), int(last or first) + 1)
            if not members or len(cpus) + len(members) > MOST_LISTED:
                break
            cpus += members
        else:
            return cpus
    raise ValueError(f"not a list of CPUs: {text[:100]!r}")


def cpu_names(text: str) -> list[int]:
    """Return the CPUs of a clock, named as sysfs does: `4 5 6 7`; an empty list for any other text."""
    words = text.split() if len(text) <= LONGEST_LIST else []
    return [int(word) for word in words if re.fullmatch("[0-9]{1,4}", word) and int(word) < MOST_CPUS]


class CpuLists:
    """Parsed lists of one phone's CPUs: each text is parsed once, however many samples hold it."""

    def __init__(self) -> None:
        """Begin with no list parsed."""
        self._parsed: dict[str, list[int] | None] = {}

    def parse(self, text: str) -> list[int] | None:
        """Return the CPUs of a list; None where the text is not a list of a phone's CPUs."""
        if text not in self._parsed:
            try:
                cpus = parse_cpus(text)
                self._parsed[text] = cpus if max(cpus) < MOST_CPUS else None
            except ValueError:
                self._parsed[text] = None
        return self._parsed[text]
