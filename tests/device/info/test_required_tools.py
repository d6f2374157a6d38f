"""What a phone's shell lacks is found before anything is sent."""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from smoothdroid.device.common.errors import CommandFailed, NoPhone
from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.device.info import required_tools
from smoothdroid.device.info.required_tools import TASKSET, TOOLS, Lack, Tool
from smoothdroid.device.store import inventory, upload
from smoothdroid.device.store.upload import CHUNK, ensure
from smoothdroid.device.transport import file_transfer
from smoothdroid.device.transport.local import LocalTarget
from smoothdroid.device.transport.target import Completed, OnOutput, Progress
from smoothdroid.device.virtual.tree import _ANDROID_TOOLS

DEVICE = Path(required_tools.__file__).parents[1]
OPTIONAL = {
    "flock",
    "fsync",
    "sync",
    "ps",
    "timeout",
    "kill",
    "echo",
    "printf",
    "true",
    "test",
    "ulimit",
    "file",
    "top",
    "watch",
}
"""What scripts use where it is there, what every shell has built in, and words that are no commands."""


class Bare(LocalTarget):
    """This machine's shell with some of its tools, and some of another kind."""

    def __init__(self, folder: Path, without: Sequence[str] = (), name: str = "local:") -> None:
        self.name, self.root, self._bin = name, str(folder / "phone"), folder / "bin"
        self.sent: list[int] = []
        self._bin.mkdir()
        for tool in ("sh", "flock", "fsync", "sync", "ps", "taskset", *(one.name for one in TOOLS)):
            if tool not in without and (found := shutil.which(tool)):
                (self._bin / tool).symlink_to(found)

    def replace(self, tool: str, script: str) -> None:
        (self._bin / tool).unlink()
        (self._bin / tool).write_text(script, encoding="utf-8")
        (self._bin / tool).chmod(0o755)

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
        check: bool = True,
        on_output: OnOutput | None = None,
        tied: bool = False,
    ) -> Completed:
        bare = {"PATH": str(self._bin), **(env or {})}
        return super().run(argv, env=bare, timeout_s=timeout_s, check=check, on_output=on_output, tied=tied)

    def append(self, source: Path, remote: str, start: int, *, progress: Progress | None = None) -> None:
        self.sent.append(start)
        super().append(source, remote, start, progress=progress)


def words(script: str) -> set[str]:
    """What stands in a script where a command can stand."""
    code = re.sub(r"(^|\s)#.*", "", script, flags=re.MULTILINE)
    before = r"(?:^|[|&;({!]|\b(?:if|then|do|else|while|until|exec))"
    return set(re.findall(rf"{before}\s*([a-z][a-z0-9]+)\b(?!=|\()", code, re.MULTILINE))


def test_the_table_has_every_tool_that_a_script_runs() -> None:
    scripts = [path.read_text(encoding="utf-8") for path in (DEVICE / "job").glob("runner/*.sh")]
    for module in (upload, inventory, file_transfer):
        scripts += [value for value in vars(module).values() if isinstance(value, str)]
    used = set().union(*map(words, scripts)) & set(_ANDROID_TOOLS.split())
    assert {"sha256sum", "setsid", "stat"} <= used, "they are found"
    assert used - OPTIONAL <= {one.name for one in TOOLS}


def test_the_minimum_is_that_of_the_newest_tool() -> None:
    assert max((one.android for one in TOOLS), key=lambda version: float(version)) == required_tools.MINIMUM_ANDROID


def test_a_phone_that_has_all() -> None:
    assert required_tools.missing(LocalTarget()) is None
    required_tools.require(LocalTarget(), [*TOOLS, TASKSET])


@pytest.mark.fault(
    "a tool is missing on the phone: sha256sum on Android 7, setsid or taskset in Termux without util-linux",
    transport="any",
    outcome="it is named with its fix by devices, doctor, deploy and bench before anything is sent",
)
@pytest.mark.parametrize("lacking", [["sha256sum"], ["setsid", "stat"], ["dd"], ["grep", "wc"], ["chmod"]])
def test_nothing_is_sent_to_a_phone_that_lacks_a_tool(tmp_path: Path, lacking: list[str]) -> None:
    target = Bare(tmp_path, without=lacking)
    source = tmp_path / "model.gguf"
    source.write_bytes(b"a model")
    with pytest.raises(NoPhone, match=f"lacks .*{lacking[0]}.*Nothing was sent") as error:
        ensure(target, source, sha256_of(source))
    assert all(name in str(error.value) for name in lacking)
    assert target.sent == []
    assert not Path(target.root).exists()


def test_only_what_names_cpus_needs_taskset(tmp_path: Path) -> None:
    target = Bare(tmp_path, without=["taskset"])
    required_tools.require(target)
    with pytest.raises(NoPhone, match=r"taskset \(to restrict threads to the CPUs of --cpus\)"):
        required_tools.require(target, [TASKSET])


def tool(name: str) -> Tool:
    return next(one for one in (*TOOLS, TASKSET) if one.name == name)


@pytest.mark.parametrize(
    ("names", "where", "said", "fix"),
    [
        (["sha256sum"], "android 7.1.2", "its Android lacks sha256sum", "Android 7.1.2, and Android 8.0 is the first"),
        (["sha256sum"], "android 7", "its Android lacks sha256sum", r"--on ssh://ADDRESS:8022"),
        (["setsid"], "android 14", "its Android lacks setsid", "since 6.0, so this phone's maker"),
        (["setsid"], "android", "its Android lacks setsid", "maker or owner removed them"),
        (["setsid", "taskset"], "termux", "Termux there lacks", "in Termux: `pkg install util-linux`$"),
        (["cat", "setsid"], "termux", "Termux there lacks", "`pkg install coreutils util-linux`"),
        (["stat"], "", "it lacks stat", "install stat there"),
    ],
)
def test_the_fix_is_that_of_the_place(names: list[str], where: str, said: str, fix: str) -> None:
    lack = Lack(tuple(map(tool, names)), where)
    assert re.match(said, str(lack))
    assert re.search(fix, lack.fix)


class Says(LocalTarget):
    """A phone that answers as a test wants it to."""

    def __init__(self, answer: str) -> None:
        self._answer = answer

    def run(self, argv: Sequence[str], **options: object) -> Completed:
        return Completed(0, self._answer, "")


@pytest.mark.parametrize(
    ("answer", "lack"),
    [
        ("lacks sha256sum\r\nis android 7.0\r\n", "its Android lacks sha256sum"),
        ("a banner\nlacks setsid\nis termux\n", "Termux there lacks setsid"),
        ("lacks nonsense\nlacks $(reboot)\n", None),
        ("is android " + "9" * 400 + "\nlacks dd\n", "it lacks dd"),
        ("", None),
    ],
)
def test_what_a_phone_answers_is_checked(answer: str, lack: str | None) -> None:
    found = required_tools.missing(Says(answer))
    assert str(found).startswith(lack) if lack else found is None, found
    assert found is None or found.fix


def test_a_phone_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(CommandFailed, match="has all tools now"):
        required_tools.refuse(Says(""), "lacks sha256sum\n")


HEAD_OF_ANDROID_8 = """#!/bin/sh
[ "$1" = -c ] && echo 'head: Unknown option c' >&2 && exit 1
exec /usr/bin/head "$@"
"""


@pytest.mark.fault(
    "Android 8.0, whose `head` has no -c; a model arrived in part",
    transport="any",
    outcome="what arrived is kept, and sending goes on behind the last whole 32 MiB",
)
def test_a_part_is_continued_without_head_c(tmp_path: Path) -> None:
    """toybox got `head -c` on 2017-05-28, after Android 8.0's 0.7.3."""
    target = Bare(tmp_path)
    target.replace("head", HEAD_OF_ANDROID_8)
    source = tmp_path / "model.gguf"
    source.write_bytes(random.Random(2).randbytes(CHUNK + 1234))  # noqa: S311 (not a secret)
    folder = Path(target.root, "store", sha256_of(source)[:16])
    folder.mkdir(parents=True)
    part = folder / f".{folder.name}.part"
    part.write_bytes(source.read_bytes()[: CHUNK + 100] + b"wrong")
    remote = Path(ensure(target, source, sha256_of(source)))
    assert remote.read_bytes() == source.read_bytes()
    assert target.sent == [CHUNK]
    assert os.access(remote, os.R_OK)
