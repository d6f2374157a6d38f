"""What lies in the phone's store, and out of it again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from smoothdroid.device.common.errors import BadInput, CommandFailed
from smoothdroid.device.transport.target import Target, remove

ID_LENGTH = 16
LONGEST_NAME = 200

# The time, then for each folder a line `ID KB USED STATE RUNS JOBS NAMES`. USED: when, in seconds since 1970. RUNS: a
# process runs with it. JOBS: those that name it, with commas; `-` for none.
_LIST = """
date +%s
cd "$1/store" 2>/dev/null || exit 0
at_work=$(ps -A -o args 2>/dev/null)
for folder in *; do
  [ -d "$folder" ] || continue
  size=$(du -s -k "$folder")
  newest=$(ls -t -d "$folder"/.*.whole "$folder"/.*.part 2>/dev/null | head -n 1)
  state=whole runs=0 jobs=
  ls "$folder"/.*.part >/dev/null 2>&1 && state=part
  case $at_work in *"/store/$folder"*) runs=1 ;; esac
  for file in $(grep -l "/store/$folder" "$1"/jobs/*/commands.sh 2>/dev/null); do
    job=${file%/*}
    jobs=$jobs,${job##*/}
  done
  echo "$folder ${size%%[!0-9]*} $(stat -c %Y "${newest:-$folder}") $state $runs ${jobs:--}" $(ls "$folder")
done
"""


@dataclass(frozen=True)
class Stored:
    """A file in the store, or a program with its libraries."""

    id: str
    """Its folder: the beginning of its hash."""
    name: str
    """As the phone says it; of several files the first, and how many more."""
    size_bytes: int
    idle_s: int
    """Since it was last used."""
    whole: bool
    """False where it has only arrived in part."""
    runs: bool
    """A process runs with it."""
    jobs: Sequence[str]
    """The jobs on the phone that name it."""
    busy: bool
    """One of both."""


def listing(target: Target) -> list[Stored]:
    """All that is stored, what was used last first. What is no folder of ours is left out."""
    lines = target.run(["sh", "-c", _LIST, "list", target.root]).stdout.splitlines()
    if not lines or not re.fullmatch(r"\d{1,12}", lines[0]):
        raise CommandFailed(target.name, ["list", "store"], 0, stderr=f"it said {lines[:1]}")
    found = []
    for line in lines[1:]:
        pattern = rf"([0-9a-f]{{{ID_LENGTH}}}) (\d{{1,15}}) (\d{{1,12}}) (whole|part) ([01]) (\S+)(?: (.*))?"
        if said := re.fullmatch(pattern, line):
            place, kb, used, state, runs, named_by, names = said.groups()
            jobs = [job for job in named_by.split(",") if job not in ("", "-")]
            first, *others = (names or place).split()
            name = first[:LONGEST_NAME] + (f" and {len(others)} more" if others else "")
            idle_s = max(int(lines[0]) - int(used), 0)
            busy = runs == "1" or bool(jobs)
            found.append(Stored(place, name, int(kb) * 1024, idle_s, state == "whole", runs == "1", jobs, busy))
    return sorted(found, key=lambda one: one.idle_s)


def evict(target: Target, ids: Sequence[str]) -> None:
    """Remove what `listing` named."""
    for one in ids:
        if not re.fullmatch(rf"[0-9a-f]{{{ID_LENGTH}}}", one):
            raise BadInput(f"{one!r} is no folder of the store")
        remove(target, f"{target.root}/store/{one}")
