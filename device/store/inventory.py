"""The inventory of the phone's store: its files listed, and removed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from smoothdroid.device.common.errors import BadInput, CommandFailed
from smoothdroid.device.transport.target import Target, remove

ID_LENGTH = 16
LONGEST_NAME = 200

# Prints the time, then for each folder a line `ID KB USED STATE RUNS JOBS NAMES`. USED: the last use, in seconds since
# 1970. RUNS: whether a process uses it. JOBS: the jobs that name it, separated by commas; `-` for none.
_LIST = """
date +%s
cd "$1/store" 2>/dev/null || exit 0
commands=$(ps -A -o args 2>/dev/null)
for folder in *; do
  [ -d "$folder" ] || continue
  size=$(du -s -k "$folder")
  newest=$(ls -t -d "$folder"/.*.whole "$folder"/.*.part 2>/dev/null | head -n 1)
  state=whole runs=0 jobs=
  ls "$folder"/.*.part >/dev/null 2>&1 && state=part
  case $commands in *"/store/$folder"*) runs=1 ;; esac
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
    """The name of its folder: the beginning of its hash."""
    name: str
    """The file's name; for several files the first one, and how many more."""
    size_bytes: int
    idle_s: int
    """The time since it was last used."""
    whole: bool
    """Whether all of it has arrived."""
    runs: bool
    """Whether a process uses it."""
    jobs: Sequence[str]
    """The jobs on the phone that name it."""
    busy: bool
    """Whether a process uses it or a job names it."""


def listing(target: Target) -> list[Stored]:
    """List everything in the store, most recently used first, without folders that smoothdroid did not make."""
    lines = target.run(["sh", "-c", _LIST, "list", target.root]).stdout.splitlines()
    if not lines or not re.fullmatch(r"\d{1,12}", lines[0]):
        raise CommandFailed(target.name, ["list", "store"], 0, stderr=f"the phone answered {lines[:1]}")
    stored = []
    for line in lines[1:]:
        pattern = rf"([0-9a-f]{{{ID_LENGTH}}}) (\d{{1,15}}) (\d{{1,12}}) (whole|part) ([01]) (\S+)(?: (.*))?"
        if match := re.fullmatch(pattern, line):
            place, kb, used, state, runs, named_by, names = match.groups()
            jobs = [job for job in named_by.split(",") if job not in ("", "-")]
            first, *others = (names or place).split()
            name = first[:LONGEST_NAME] + (f" and {len(others)} more" if others else "")
            idle_s = max(int(lines[0]) - int(used), 0)
            busy = runs == "1" or bool(jobs)
            stored.append(Stored(place, name, int(kb) * 1024, idle_s, state == "whole", runs == "1", jobs, busy))
    return sorted(stored, key=lambda entry: entry.idle_s)


def evict(target: Target, ids: Sequence[str]) -> None:
    """Remove entries of `listing` from the phone. Raises BadInput for an id that is not a folder of the store."""
    for folder in ids:
        if not re.fullmatch(rf"[0-9a-f]{{{ID_LENGTH}}}", folder):
            raise BadInput(f"{folder!r} is not a folder of the store")
        remove(target, f"{target.root}/store/{folder}")
