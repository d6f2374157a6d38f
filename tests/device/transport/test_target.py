"""Tests of what all transports do: local without a phone, adb and SSH with an emulated one."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothdroid.device import virtual
from smoothdroid.device.common.errors import CommandFailed, TargetLost, TargetTimeout
from smoothdroid.device.transport import adb
from smoothdroid.device.transport.adb import AdbTarget
from smoothdroid.device.transport.command_line import command_line
from smoothdroid.device.transport.local import LocalTarget
from smoothdroid.device.transport.resolve import open_target
from smoothdroid.device.transport.target import Target, read, remove
from tests.waiting import GIVE_UP_S, eventually

NASTY = [
    *["", " ", "  two  ", "-n", "--", "-rf", "안녕하세요", "🤖", "it's", 'a "b" c', "'\"'\"'", "\\", "\\n", "\\0"],
    *["$(id)", "`id`", "$HOME", "${HOME}", "$$", "*", "?", "[a-z]*", "~", "{a,b}", "!x", "a;b", "a&&b", "a|b", ">x"],
    *["# no", "a=b", "%s", "a\nb", "end\n", "\n", "a\tb", "\r\n", "\x01\x1b[0m\x7f"],
]


@pytest.fixture(
    params=["local", pytest.param("adb", marks=pytest.mark.e2e), pytest.param("ssh", marks=pytest.mark.e2e)]
)
def target(request: pytest.FixtureRequest) -> Target:
    """A target of each transport in turn."""
    if request.param == "local":
        return LocalTarget()
    chosen: Target = request.getfixturevalue(f"{request.param}_target")
    return chosen


@pytest.fixture
def folder(target: Target, tmp_path: Path) -> str:
    """An empty folder on the target."""
    where = str(tmp_path / "there") if isinstance(target, LocalTarget) else f"{target.root}/{tmp_path.name}"
    remove(target, where)
    target.run(["mkdir", "-p", where])
    return where


# --- run ----------------------------------------------------------------------------------------------------


def test_arguments_arrive_unharmed(target: Target) -> None:
    done = target.run(["printf", "%s\\0", *NASTY])
    assert done.stdout.split("\0")[:-1] == NASTY


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1))
@settings(max_examples=60)
def test_any_arguments_arrive_unharmed(arguments: list[str]) -> None:
    assert LocalTarget().run(["printf", "%s\\0", *arguments]).stdout.split("\0")[:-1] == arguments


def test_a_program_with_an_odd_name_runs(target: Target, folder: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text('#!/bin/sh\nprintf %s "$1"\n')
    target.push(script, f"{folder}/it's $(a) 도구", mode=0o755)
    assert target.run([f"{folder}/it's $(a) 도구", "x y"]).stdout == "x y"


def test_the_environment_passes(target: Target) -> None:
    env = {"ONE": "it's $(id) `id`\n*", "NOTHING": "", "GREETING": "안녕"}
    done = target.run(["sh", "-c", 'printf "%s|%s|%s" "$ONE" "$NOTHING" "$GREETING"'], env=env)
    assert done.stdout == "it's $(id) `id`\n*||안녕"
    assert target.run(["sh", "-c", "echo ${ONE-unset}"]).stdout == "unset\n"


@pytest.mark.fault(
    "the environment of the phone's shell holds options of llama.cpp",
    transport="any",
    outcome="they are unset for whatever smoothdroid runs; its own settings are kept",
)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("value", ["q4_0", "", "a b LLAMA_B=1 LLAMA_C-d=2", "*", "it's\n$(id)", "'", "-n"])
def test_options_of_llama_cpp_in_the_shells_environment_affect_nothing(target: Target, value: str, tied: bool) -> None:
    shells = {"LLAMA_ARG_CACHE_TYPE_K": value, "GGML_OP_OFFLOAD_MIN_BATCH": value, "OTHER": value, "LLAMAS": value}
    line = command_line(["env"], {"LLAMA_SET": "here", "LLAMA_ARG_CACHE_TYPE_K": "f16"}, tied=tied)
    said = target.run(["sh", "-c", line], env=shells).stdout.splitlines()
    assert {one for one in said if one.startswith(("LLAMA_", "GGML_"))} == {
        "LLAMA_SET=here",
        "LLAMA_ARG_CACHE_TYPE_K=f16",
    }
    for kept in ("OTHER", "LLAMAS"):
        assert f"{kept}={value}".splitlines()[0] in said


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 7", 7), ("kill -ILL $$", 132), ("kill -KILL $$", 137), ("kill -TERM $$", 143)],
)
def test_the_exit_status_is_the_shells(target: Target, script: str, status: int, tied: bool) -> None:
    done = target.run(["sh", "-c", f"echo said; echo warned >&2; {script}"], check=False, tied=tied)
    assert (done.exit_status, done.stdout) == (status, "said\n")
    assert done.stderr.startswith("warned\n")


def test_a_failure_carries_all_there_is_to_know(target: Target) -> None:
    argv = ["sh", "-c", "echo said; echo warned >&2; exit 3"]
    with pytest.raises(CommandFailed, match=r"status 3: warned") as error:
        target.run(argv)
    failed = error.value
    assert (failed.target, failed.argv, failed.status) == (target.name, argv, 3)
    assert (failed.stdout, failed.stderr) == ("said\n", "warned\n")


def test_a_program_that_is_not_there_is_status_127(target: Target) -> None:
    with pytest.raises(CommandFailed, match="no-such-program") as error:
        target.run(["no-such-program"])
    assert error.value.status == 127


@pytest.mark.fault(
    "a command on the phone waits for input",
    transport="any",
    outcome="its input is closed, so it goes on or ends",
)
def test_nobody_waits_for_a_key(target: Target) -> None:
    assert target.run(["cat"]).stdout == ""


def test_megabytes_on_both_outputs_arrive_whole(target: Target) -> None:
    script = "yes left | head -c 3000000 & yes right | head -c 3000000 >&2; wait"
    done = target.run(["sh", "-c", script], timeout_s=GIVE_UP_S)
    assert done.stdout == ("left\n" * 600_000)[:3_000_000]
    assert done.stderr == ("right\n" * 500_000)[:3_000_000]


def test_output_is_told_as_it_comes_and_no_letter_is_split(target: Target) -> None:
    pieces: list[str] = []
    heard = f"{target.root}/heard"

    def listen(piece: str) -> None:
        pieces.append(piece)
        if "".join(pieces) in ("a", "a한"):
            target.run(["touch", f"{heard}-{len(''.join(pieces))}"])

    # It does not go on before the host has heard what it wrote.
    wait = 'until [ -e "$0-{}" ]; do sleep 0.05; done'
    script = rf"printf 'a\355\225'; {wait.format(1)}; printf '\234\352\270'; {wait.format(2)}; printf '\200.'"
    try:
        done = target.run(["sh", "-c", script, heard], on_output=listen)
    finally:
        target.run(["sh", "-c", 'rm -f "$0"-*', heard])
    assert "".join(pieces) == done.stdout == "a한글."
    assert all("�" not in piece for piece in pieces)


def test_bytes_that_are_no_text_do_not_end_a_run(target: Target) -> None:
    assert target.run(["printf", r"a\377b"]).stdout == "a�b"


@pytest.mark.fault(
    "a command on the phone takes longer than it may",
    transport="any",
    outcome="an error that is no loss of the phone; the next command works",
)
def test_too_slow_is_a_timeout_and_not_a_loss(target: Target) -> None:
    with pytest.raises(TargetTimeout, match="sleep") as error:
        target.run(["sleep", "3600"], timeout_s=0.5)
    assert not isinstance(error.value, TargetLost)
    assert target.run(["echo", "still here"]).stdout == "still here\n"


@pytest.mark.fault(
    "the connection ends while a prompt runs on the phone",
    transport="any",
    outcome="the program ends with it",
)
def test_a_tied_command_ends_with_the_connection(target: Target) -> None:
    seconds = f"{os.getpid()}.25"
    with pytest.raises(TargetTimeout):
        target.run(["sleep", seconds], timeout_s=0.5, tied=True)
    # The brackets keep pgrep from finding the shell that runs it.
    running = ["pgrep", "-f", f"sleep [{seconds[0]}]{seconds[1:]}"]
    eventually(lambda: not target.run(running, check=False).stdout)


@pytest.mark.e2e
def test_many_short_tied_commands_end(adb_target: AdbTarget) -> None:
    """A watcher that outlives its command would keep the connection open."""
    with ThreadPoolExecutor(4) as pool:
        ran = pool.map(lambda _: adb_target.run(["echo", "x"], tied=True, timeout_s=60).stdout, range(40))
    assert list(ran) == ["x\n"] * 40


# --- files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 65536, 3_000_001])
def test_a_file_goes_there_and_back(target: Target, folder: str, tmp_path: Path, size: int) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(os.urandom(size))
    sent: list[tuple[int, int]] = []
    fetched: list[tuple[int, int]] = []
    target.push(source, f"{folder}/it's 파일", progress=lambda done, total: sent.append((done, total)))
    target.pull(f"{folder}/it's 파일", back, progress=lambda done, total: fetched.append((done, total)))
    assert back.read_bytes() == source.read_bytes()
    for told in (sent, fetched):
        assert told == sorted(told)
        assert {total for _, total in told} <= {size}
        assert not size or told[-1] == (size, size)


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755])
def test_a_file_has_the_mode_that_was_asked_for(target: Target, folder: str, tmp_path: Path, mode: int) -> None:
    source = tmp_path / "source"
    source.write_text("x")
    target.push(source, f"{folder}/file", mode=mode)
    there = int(target.run(["stat", "-c", "%a", f"{folder}/file"]).stdout, 8)
    # adbd itself gives the group and the others what the owner has.
    assert there == mode


@pytest.mark.fault(
    "adbd and the phone's shell create files and folders that every app may read",
    transport="any",
    outcome="smoothdroid's are 0600 and 0700, whatever the daemon's own mask is",
)
def test_files_and_folders_are_their_users_alone(target: Target, folder: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("x")
    target.push(source, f"{folder}/pushed")
    target.append(source, f"{folder}/appended", 0)
    target.run(["sh", "-c", f"umask; mkdir -p {folder}/a/b; echo >{folder}/written"])
    modes = target.run(["stat", "-c", "%a", *(f"{folder}/{name}" for name in ("pushed", "appended", "written"))]).stdout
    assert modes.split() == ["600"] * 3
    assert target.run(["stat", "-c", "%a", f"{folder}/a", f"{folder}/a/b"]).stdout.split() == ["700"] * 2


def test_pushing_again_replaces_the_file(target: Target, folder: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for text in ("a longer text", "short"):
        source.write_text(text)
        target.push(source, f"{folder}/file")
        assert read(target, f"{folder}/file") == text


def test_a_push_that_the_phone_refuses_says_why(target: Target, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(300_000))
    with pytest.raises(CommandFailed, match=r"(?i)no such file|nonexistent|permission denied") as error:
        target.push(source, "/proc/no/such/folder/file")
    assert error.value.target == target.name


@pytest.mark.parametrize("what", ["missing", "."])
@pytest.mark.fault(
    "a file cannot be fetched from the phone",
    transport="any",
    outcome="the phone's own reason is shown; an older copy on the workstation stays",
)
def test_a_failed_pull_says_why_and_leaves_what_was_there(
    target: Target, folder: str, tmp_path: Path, what: str
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "kept").write_text("kept")
    for name in ("kept", "new"):
        with pytest.raises(CommandFailed, match=r"(?i)no such file|directory"):
            target.pull(f"{folder}/{what}", here / name)
    assert [(path.name, path.read_text()) for path in here.iterdir()] == [("kept", "kept")]


def test_read_and_remove(target: Target, folder: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("텍스트\n")
    target.push(source, f"{folder}/file")
    assert read(target, f"{folder}/file") == "텍스트\n"
    remove(target, f"{folder}/file")
    remove(target, f"{folder}/file")
    with pytest.raises(CommandFailed, match="No such file"):
        read(target, f"{folder}/file")


# --- losing the phone ---------------------------------------------------------------------------------------


@pytest.mark.e2e
def test_a_phone_that_dies_is_lost_and_found_again(tmp_path: Path) -> None:
    name = f"tests-{os.getpid()}-dies"
    started = virtual.start(name)
    try:
        targets = [open_target(f"virtual:{name}"), open_target(f"virtual:{name}/ssh")]
        began = [threading.Event() for _ in targets]

        def sleep(target: Target, running: threading.Event) -> None:
            target.run(["sh", "-c", "echo began; sleep 3600"], on_output=lambda _: running.set())

        with ThreadPoolExecutor() as pool:
            runs = [pool.submit(sleep, *each) for each in zip(targets, began, strict=True)]
            assert all(event.wait(GIVE_UP_S) for event in began)
            virtual.stop(name)
            for run in runs:
                assert isinstance(run.exception(timeout=GIVE_UP_S), TargetLost)
        for target in targets:
            with pytest.raises(TargetLost):
                target.run(["true"])
            with pytest.raises(TargetLost):
                target.push(Path(__file__), f"{target.root}/file")
            with pytest.raises(TargetLost):
                target.pull("/system/bin/sh", tmp_path / "sh")
        virtual.start(name)
        for on in (f"virtual:{name}", f"virtual:{name}/ssh"):
            assert open_target(on).run(["echo", "back"]).stdout == "back\n"
    finally:
        adb.disconnect(started.adb_address)
        virtual.stop(name, erase=True)
