"""The commands that smoothdroid needs on a phone: what for, since which Android, in which package of Termux."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from smoothdroid.device.common.errors import CommandFailed, NoPhone
from smoothdroid.device.transport.target import Target

MINIMUM_ANDROID = "8.0"
"""The first Android whose shell has all of TOOLS; the newest tool among them is sha256sum."""


@dataclass(frozen=True)
class Tool:
    """A command on a phone."""

    name: str
    needed_to: str
    android: str
    """The first Android that has it (AOSP, system/core/shell_and_utilities/README.md)."""
    termux: str
    """The package of Termux that brings it."""


_FILES = "keep files on the phone"
_RUN = "run a job there"
TOOLS = (
    Tool("sha256sum", "check what arrived and what was measured", "8.0", "coreutils"),
    Tool("dd", "take what is sent", "4.1", "coreutils"),
    Tool("stat", "take what is sent", "6.0", "coreutils"),
    Tool("truncate", "go on with what came in part", "6.0", "coreutils"),
    Tool("df", "see how much room there is", "4.1", "coreutils"),
    Tool("du", "see what takes room", "4.1", "coreutils"),
    Tool("cat", _FILES, "4.1", "coreutils"),
    Tool("chmod", _FILES, "4.1", "coreutils"),
    Tool("mkdir", _FILES, "4.1", "coreutils"),
    Tool("mv", _FILES, "4.1", "coreutils"),
    Tool("rm", _FILES, "4.1", "coreutils"),
    Tool("ls", _FILES, "4.1", "coreutils"),
    Tool("touch", _FILES, "4.1", "coreutils"),
    Tool("setsid", "go on without a connection", "6.0", "util-linux"),
    Tool("ln", _RUN, "4.1", "coreutils"),
    Tool("readlink", _RUN, "4.4", "coreutils"),
    Tool("date", _RUN, "4.1", "coreutils"),
    Tool("sleep", _RUN, "4.1", "coreutils"),
    Tool("head", _RUN, "6.0", "coreutils"),
    Tool("tail", _RUN, "6.0", "coreutils"),
    Tool("sort", "list jobs", "6.0", "coreutils"),
    Tool("wc", _RUN, "6.0", "coreutils"),
    Tool("grep", _RUN, "4.1", "grep"),
    Tool("sed", _RUN, "6.0", "sed"),
)
"""Nothing is sent to a phone that lacks one of these."""

TASKSET = Tool("taskset", "hold threads to the CPUs of --cpus", "6.0", "util-linux")
"""Needed by what names CPUs, and by nothing else."""

# Not in the table, because smoothdroid gets along without: flock (two that send at a time), fsync (sync does it),
# ps, timeout.

LOOK = """
for tool in "$@"; do command -v "$tool" >/dev/null 2>&1 || echo "lacks $tool"; done
"""
"""Lines of a script: `lacks NAME` for each of its arguments that is no command there. Starts no process."""

_WHERE = """
case ${PREFIX-}:${HOME-}:$PATH in
  *com.termux*) echo 'is termux' ;;
  *) [ -d /system/bin ] && echo "is android $(getprop ro.build.version.release 2>/dev/null)" ;;
esac
exit 0
"""


@dataclass(frozen=True)
class Lack:
    """Tools that a phone lacks."""

    tools: tuple[Tool, ...]
    where: str = ""
    """`termux`, `android VERSION`, or nothing that is known."""

    def __str__(self) -> str:
        reasons: dict[str, list[str]] = {}
        for tool in self.tools:
            reasons.setdefault(tool.needed_to, []).append(tool.name)
        named = "; ".join(f"{', '.join(names)} (to {reason})" for reason, names in reasons.items())
        whose = {"termux": "Termux there", "android": "its Android"}.get(self.where.partition(" ")[0], "it")
        return f"{whose} lacks {named}"

    @property
    def fix(self) -> str:
        """The sentence that says what to do about it."""
        packages = f"`pkg install {' '.join(dict.fromkeys(tool.termux for tool in self.tools))}`"
        if self.where == "termux":
            return f"in Termux: {packages}"
        if self.where.startswith("android"):
            version = self.where.removeprefix("android").strip()
            newest = max((tool.android for tool in self.tools), key=_number)
            if re.fullmatch(r"\d{1,3}(\.\d{1,3})*", version) and _number(version) < _number(newest):
                why = f"this is Android {version}, and {newest} is the first that has all of that"
            else:
                why = f"Android has had that since {newest}, and here somebody took it away"
            return f"{why}. Measure in Termux on the same phone: there {packages}, then --on ssh://ADDRESS:8022"
        return f"install {', '.join(tool.name for tool in self.tools)} there"


def missing(target: Target, tools: Sequence[Tool] = TOOLS) -> Lack | None:
    """Find what a phone lacks of `tools`, asked in one command that needs none of them; None where it has all."""
    said = target.run(["sh", "-c", LOOK + _WHERE, "lacks", *(tool.name for tool in tools)]).stdout
    if not (lacking := named(said, tools)):
        return None
    where = re.search(r"^is (termux|android(?: [\w.]{1,20})?)\s*$", said, re.MULTILINE)
    return Lack(lacking, where[1] if where else "")


def named(said: str, tools: Sequence[Tool] = TOOLS) -> tuple[Tool, ...]:
    """The tools in what LOOK said."""
    names: Collection[str] = set(re.findall(r"^lacks (\S{1,40})\s*$", said, re.MULTILINE))
    return tuple(tool for tool in tools if tool.name in names)


def require(target: Target, tools: Sequence[Tool] = TOOLS) -> None:
    """Raises NoPhone, which says what is lacking, what it is needed for and what to do, unless all are there."""
    if lack := missing(target, tools):
        raise NoPhone(f"{target.name}: {lack}. Nothing was sent. {lack.fix[0].upper()}{lack.fix[1:]}")


def refuse(target: Target, said: str) -> None:
    """Raises as `require` for what LOOK said in the middle of another script, CommandFailed when it was untrue."""
    require(target)
    raise CommandFailed(target.name, ["look"], 0, stderr=f"it said {said[:80]!r}, and has all tools now")


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
