"""Tests of login shells that print or are not POSIX shells: commands and files work as under `sh`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from smoothdroid.device.common.errors import CommandFailed, NoPhone, TargetTimeout
from smoothdroid.device.job.session import Session
from smoothdroid.device.job.task import Task
from smoothdroid.device.transport.command_line import command_line
from tests.device.sshd import Sshd, sshd
from tests.device.transport.test_target import NASTY
from tests.waiting import eventually

__all__ = ["sshd"]

pytestmark = pytest.mark.e2e

LATE = pytest.mark.fault(
    "the login shell prints when it ends",
    transport="ssh",
    outcome="nothing of that is taken for a command's output",
)

# Shells with reports: paramiko #395, ansible #2268 (a greeting); ansible #13882, vscode-remote-release #33 (fish).
SHELLS = [
    "plain",
    pytest.param(
        "greeting",
        marks=pytest.mark.fault(
            "~/.bashrc prints a greeting, which bash reads under sshd too",
            transport="ssh",
            outcome="commands and files are what they are without it",
        ),
    ),
    pytest.param(
        "colours",
        marks=pytest.mark.fault(
            "the login shell prints colours without a line end, and warnings on standard error",
            transport="ssh",
            outcome="nothing of that is taken for a command's output",
        ),
    ),
    pytest.param("farewell", marks=LATE),
    pytest.param(
        "binary",
        marks=pytest.mark.fault(
            "the login shell prints bytes that are no text",
            transport="ssh",
            outcome="nothing of that is taken for a command's output",
        ),
    ),
    pytest.param(
        "lingering",
        marks=pytest.mark.fault(
            "~/.bashrc starts a process that keeps the connection's output open",
            transport="ssh",
            outcome="a command ends when it has ended, whatever else goes on",
        ),
    ),
    "traced",
    pytest.param(
        "fish",
        marks=pytest.mark.fault(
            "the login shell is fish", transport="ssh", outcome="commands run under sh, as with any login shell"
        ),
    ),
    pytest.param(
        "csh",
        marks=pytest.mark.fault(
            "the login shell is csh", transport="ssh", outcome="commands run under sh, as with any login shell"
        ),
    ),
]


OPENSSH = pytest.param(
    "openssh",
    marks=pytest.mark.fault(
        "the phone's OpenSSH has no SFTP subsystem",
        transport="ssh",
        outcome="files go through a shell, as commands do",
    ),
)
DROPBEAR = pytest.param(
    "dropbear",
    marks=pytest.mark.fault(
        "the phone's SSH daemon is dropbear, which has no SFTP",
        transport="ssh",
        outcome="files go through a shell, as commands do",
    ),
)


@pytest.mark.parametrize("daemon", [OPENSSH, DROPBEAR])
@pytest.mark.parametrize("user", SHELLS)
def test_commands_and_files_are_the_same_whatever_the_login_shell_prints(
    sshd: Sshd, tmp_path: Path, user: str, daemon: str
) -> None:
    with sshd.target(user, sshd.port if daemon == "openssh" else sshd.dropbear_port) as target:
        assert target.root == f"{sshd.folder}/home/{user}/.smoothdroid"
        assert target.run(["printf", "%s\\0", *NASTY]).stdout.split("\0")[:-1] == NASTY
        for tied in (False, True):
            done = target.run(["sh", "-c", "printf out; printf err >&2; exit 7"], check=False, tied=tied)
            assert (done.exit_status, done.stdout) == (7, "out")
            assert done.stderr == "err"
        done = target.run(["sh", "-c", "kill -KILL $$"], check=False)
        assert (done.exit_status, done.stdout) == (137, "")
        assert target.run(["sh", "-c", "echo $0 $ONE"], env={"ONE": "it's * $(id)\n2"}).stdout == "sh it's * $(id) 2\n"
        source, back, folder = tmp_path / "source", tmp_path / "back", f"{target.root}/{tmp_path.name}"
        source.write_bytes(os.urandom(300_001))
        target.run(["mkdir", "-p", folder])
        target.push(source, f"{folder}/it's 파일", mode=0o600)
        assert target.run(["stat", "-c", "%a", f"{folder}/it's 파일"]).stdout == "600\n"
        target.pull(f"{folder}/it's 파일", back)
        assert back.read_bytes() == source.read_bytes()
        target.append(source, f"{folder}/appended", 0)
        source.write_bytes(source.read_bytes() + os.urandom(200_000))
        target.append(source, f"{folder}/appended", 300_001)
        target.pull(f"{folder}/appended", back)
        assert back.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("daemon", ["openssh", "dropbear"])
@pytest.mark.parametrize("user", ["greeting", "fish", "csh"])
def test_a_tied_command_ends_with_its_connection_under_any_login_shell(sshd: Sshd, user: str, daemon: str) -> None:
    seconds = f"{os.getpid()}.{len(user)}{len(daemon)}"
    with sshd.target(user, sshd.port if daemon == "openssh" else sshd.dropbear_port) as target:
        with pytest.raises(TargetTimeout):
            target.run(["sleep", seconds], timeout_s=0.5, tied=True)
        running = ["pgrep", "-f", f"sleep [{seconds[0]}]{seconds[1:]}"]
        eventually(lambda: not target.run(running, check=False).stdout)


def test_output_is_told_as_it_comes(sshd: Sshd) -> None:
    with sshd.target("greeting") as target:
        heard = f"{target.root}/heard"
        pieces: list[str] = []

        def listen(piece: str) -> None:
            pieces.append(piece)
            if "".join(pieces) == "one\n":
                target.run(["sh", "-c", f"mkdir -p {target.root} && touch {heard}"])

        script = f"echo one; until [ -e {heard} ]; do sleep 0.1; done; echo two"
        assert target.run(["sh", "-c", script], on_output=listen).stdout == "one\ntwo\n"


@pytest.mark.parametrize(
    ("user", "said"),
    [
        pytest.param(
            "endless",
            r"the login shell prints without end\. It printed: welcome",
            marks=pytest.mark.fault(
                "the login shell prints without end", transport="ssh", outcome="refused at once, with what it printed"
            ),
        ),
        pytest.param(
            "leaving",
            r"ended with status 3 and ran no command\. It printed: no more",
            marks=pytest.mark.fault(
                "the login shell ends before it runs a command",
                transport="ssh",
                outcome="refused at once, with what it printed",
            ),
        ),
        pytest.param(
            "other",
            r"ended with status 0 and ran no command\. It printed: this is no shell",
            marks=pytest.mark.fault(
                "~/.bashrc starts another program in the login shell's place",
                transport="ssh",
                outcome="refused at once, with what it printed",
            ),
        ),
        ("nobody", "ran no command.*This account is currently not available"),
    ],
)
def test_a_login_shell_that_runs_no_command_is_named(sshd: Sshd, user: str, said: str) -> None:
    with pytest.raises(NoPhone, match=said) as error, sshd.target(user):
        pass
    assert type(error.value) is NoPhone  # which nobody waits for


@pytest.mark.parametrize("user", ["homeless", "oddhome", "lines"])
@pytest.mark.fault(
    "the phone names a home folder that is not there, or is no path",
    transport="ssh",
    outcome="refused at once, with what it named",
)
def test_a_home_folder_that_cannot_be_used_is_refused(sshd: Sshd, user: str) -> None:
    with pytest.raises(NoPhone, match="home folder cannot be used"), sshd.target(user):
        pass


# --- what is bounded ------------------------------------------------------------------------------------------


@pytest.mark.fault(
    "a phone sends more of a file than it announced, without end",
    transport="ssh",
    outcome="the download is cut off, and nothing of it is left",
)
@pytest.mark.parametrize("what", ["/dev/zero", "/proc/self/status", "/proc/self/fd"])
def test_a_download_is_bounded_by_the_size_that_was_announced(sshd: Sshd, tmp_path: Path, what: str) -> None:
    with sshd.target("plain") as target, pytest.raises(CommandFailed, match=r"more than its|not a regular file"):
        target.pull(what, tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault(
    "a phone prints without end", transport="ssh", outcome="the command fails when it has printed more than 64 MiB"
)
@pytest.mark.parametrize("where", ["", " >&2"])
def test_output_without_end_is_cut_off(sshd: Sshd, where: str) -> None:
    with sshd.target("greeting") as target:
        with pytest.raises(CommandFailed, match="more than 64 MiB"):
            target.run(["sh", "-c", f"yes{where}"], tied=True)
        assert target.run(["echo", "still here"]).stdout == "still here\n"


def test_a_command_that_is_too_long_is_refused(sshd: Sshd) -> None:
    with sshd.target("plain") as target:
        assert target.run(["echo", "x" * 100_000]).stdout == "x" * 100_000 + "\n"
        with pytest.raises(CommandFailed, match="too long"):
            target.run(["echo", "x" * 200_000])


# --- the phone's environment ------------------------------------------------------------------------------------


@pytest.mark.fault(
    "the phone's sshd or ~/.bashrc sets options of llama.cpp (LLAMA_ARG_CACHE_TYPE_K=q4_0)",
    transport="ssh",
    outcome="they are unset for whatever smoothdroid runs; its own settings are kept",
)
@pytest.mark.parametrize("tied", [False, True])
def test_options_of_llama_cpp_in_the_phones_environment_affect_nothing(sshd: Sshd, tied: bool) -> None:
    with sshd.target("llama") as target:
        said = target.run(["env"], env={"GGML_KLEIDIAI_SME": "0", "LLAMA_LOG": "ours"}, tied=tied).stdout.splitlines()
    assert sorted(line for line in said if line.startswith(("LLAMA", "GGML"))) == [
        "GGML_KLEIDIAI_SME=0",
        "LLAMA_LOG=ours",
    ]
    assert "OTHER=kept" in said


def test_what_a_runner_measures_has_a_clean_environment_too(sshd: Sshd) -> None:
    with sshd.target("llama") as target:
        session = Session(target)
        session.start("job", [Task("env", ["env"], 60, env={"LLAMA_LOG": "ours"})])
        (done,) = session.follow("job")
        session.remove("job")
    assert [line for line in done.stdout.splitlines() if line.startswith(("LLAMA", "GGML"))] == ["LLAMA_LOG=ours"]


def test_the_fixture_sets_them(sshd: Sshd) -> None:
    with sshd.target("llama") as target:
        unclean = command_line(["env"])[command_line(["env"]).index("env") :]
        assert unclean.startswith("env")
        with target._running(["env"], unclean) as running:
            said = b""
            while more := running.read():
                said += more
    assert b"LLAMA_ARG_CACHE_TYPE_K=q4_0" in said
    assert b"LLAMA_ARG_FLASH_ATTN=off" in said
    assert b"GGML_OP_OFFLOAD_MIN_BATCH=1" in said
