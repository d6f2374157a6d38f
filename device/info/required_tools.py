"""The commands that smoothdroid needs on a phone: their purpose, first Android and Termux package."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from smoothdroid.device.common.errors import CommandFailed, NoPhone
from smoothdroid.device.transport.target import Target

MINIMUM_ANDROID = "8.0"
"""The first Android whose shell has all of TOOLS; sha256sum came last."""


@dataclass(frozen=True)
class Tool:
    """A command on a phone."""

    name: str
    needed_to: str
    android: str
    """The first Android that has it (AOSP, system/core/shell_and_utilities/README.md)."""
    termux: str
    """The package of Termux that contains it."""


_FILES = "keep files on the phone"
_RUN = "run a job there"
TOOLS = (
    Tool("sha256sum", "check uploads and results", "8.0", "coreutils"),
    Tool("dd", "receive files", "4.1", "coreutils"),
    Tool("stat", "receive files", "6.0", "coreutils"),
    Tool("truncate", "continue interrupted uploads", "6.0", "coreutils"),
    Tool("df", "find the free space", "4.1", "coreutils"),
    Tool("du", "find what uses space", "4.1", "coreutils"),
    Tool("cat", _FILES, "4.1", "coreutils"),
    Tool("chmod", _FILES, "4.1", "coreutils"),
    Tool("mkdir", _FILES, "4.1", "coreutils"),
    Tool("mv", _FILES, "4.1", "coreutils"),
    Tool("rm", _FILES, "4.1", "coreutils"),
    Tool("ls", _FILES, "4.1", "coreutils"),
    Tool("touch", _FILES, "4.1", "coreutils"),
    Tool("setsid", "continue without a connection", "6.0", "util-linux"),
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
"""The required tools: nothing is sent to a phone that lacks one."""

TASKSET = Tool("taskset", "restrict threads to the CPUs of --cpus", "6.0", "util-linux")
"""A tool that is required only where a command names CPUs."""

# These are not in the table because smoothdroid works without them: flock (guards against two uploads at a time),
# fsync (sync replaces it), ps, timeout.

LOOK = """
for tool in "$@"; do command -v "$tool" >/dev/null 2>&1 || echo "lacks $tool"; done
"""
"""Lines of a script that print `lacks NAME` for each argument that is not a command; they start no process."""

_WHERE = """
case ${PREFIX-}:${HOME-}:$PATH in
  *com.termux*) echo 'is termux' ;;
  *) [ -d /system/bin ] && echo "is android $(getprop ro.build.version.release 2>/dev/null)" ;;
esac
exit 0
"""


@dataclass(frozen=True)
class Lack:
    """The tools that a phone lacks."""

    tools: tuple[Tool, ...]
    where: str = ""
    """`termux`, `android VERSION`, or empty where neither was recognized."""

    def __str__(self) -> str:
        """Return the clause of a message that names the tools and their purpose."""
        reasons: dict[str, list[str]] = {}
        for tool in self.tools:
            reasons.setdefault(tool.needed_to, []).append(tool.name)
        named = "; ".join(f"{', '.join(names)} (to {reason})" for reason, names in reasons.items())
        owner = {"termux": "Termux there", "android": "its Android"}.get(self.where.partition(" ")[0], "it")
        return f"{owner} lacks {named}"

    @property
    def fix(self) -> str:
        """The advice on how to install the tools."""
        packages = f"`pkg install {' '.join(dict.fromkeys(tool.termux for tool in self.tools))}`"
        if self.where == "termux":
            return f"in Termux: {packages}"
        if self.where.startswith("android"):
            version = self.where.removeprefix("android").strip()
            newest = max((tool.android for tool in self.tools), key=_number)
            if re.fullmatch(r"\d{1,3}(\.\d{1,3})*", version) and _number(version) < _number(newest):
                why = f"this is Android {version}, and Android {newest} is the first with all of these"
            else:
                why = f"Android has had these since {newest}, so this phone's maker or owner removed them"
            return f"{why}. Measure in Termux on the same phone: run {packages} there, then --on ssh://ADDRESS:8022"
        return f"install {', '.join(tool.name for tool in self.tools)} there"


def missing(target: Target, tools: Sequence[Tool] = TOOLS) -> Lack | None:
    """Return which of `tools` a phone lacks, from one command that needs none of them; None where it has all."""
    output = target.run(["sh", "-c", LOOK + _WHERE, "lacks", *(tool.name for tool in tools)]).stdout
    if not (lacking := named(output, tools)):
        return None
    where = re.search(r"^is (termux|android(?: [\w.]{1,20})?)\s*$", output, re.MULTILINE)
    return Lack(lacking, where[1] if where else "")


def named(output: str, tools: Sequence[Tool] = TOOLS) -> tuple[Tool, ...]:
    """Return the tools that the output of LOOK names."""
    names: Collection[str] = set(re.findall(r"^lacks (\S{1,40})\s*$", output, re.MULTILINE))
    return tuple(tool for tool in tools if tool.name in names)


def require(target: Target, tools: Sequence[Tool] = TOOLS) -> None:
    """Raise NoPhone, with the missing tools, their purpose and the fix, unless the phone has all of them."""
    if lack := missing(target, tools):
        raise NoPhone(f"{target.name}: {lack}. Nothing was sent. {lack.fix[0].upper()}{lack.fix[1:]}")


def refuse(target: Target, output: str) -> None:
    """Raise NoPhone for the output of LOOK within another script; CommandFailed when the phone has all tools now."""
    require(target)
    raise CommandFailed(target.name, ["look"], 0, stderr=f"it reported {output[:80]!r}, and has all tools now")


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
