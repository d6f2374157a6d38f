"""Tab, as a shell asks for it: through Typer's protocol of environment variables, and typed into a real bash."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from smoothdroid.device import virtual

SMOOTHDROID = Path(sys.executable).with_name("smoothdroid")
HEAVY = {"torch", "transformers", "duckdb", "distributed", "dask", "matplotlib", "scipy", "jinja2"}


def offered(shell: str, *words: str) -> list[str]:
    """What this shell is told, a value with its help in one line."""
    asked = {
        "bash": {"COMP_WORDS": "\n".join(["smoothdroid", *words]), "COMP_CWORD": str(len(words))},
        "zsh": {"_TYPER_COMPLETE_ARGS": " ".join(["smoothdroid", *words])},
        "fish": {"_TYPER_COMPLETE_ARGS": " ".join(["smoothdroid", *words]), "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    environment = {**os.environ, "_SMOOTHDROID_COMPLETE": f"complete_{shell}", **asked}
    done = subprocess.run([SMOOTHDROID], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.strip().splitlines()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("de", ["devices", "deploy"]),
        ("build --abi x", ["x86_64"]),
        ("build --abi x86_64 --isa ", ["sse4.2", "avx2", "all"]),
        ("build --abi arm64-v8a --isa i", ["i8mm"]),
        ("predict llama-2-7b --soc SM855", ["SM8550"]),
        ("predict llama-2-7b --type q", ["q8_0", "q6_k", "q4_1", "q4_0"]),
        ("prepare m --type f16,q", ["f16,q8_0", "f16,q6_k", "f16,q5_k_m", "f16,q4_k_m", "f16,q4_1", "f16,q4_0"]),
        ("prepare m --kernel k", ["kleidiai"]),
        ("prepare m --head q", ["q8_0", "q6_k"]),
        ("run m.gguf --on lo", ["local:"]),
        ("doctor --for bu", ["build", "bundle"]),
        ("phone start x --profile pix", ["pixel-8"]),
    ],
)
def test_values_are_offered(words: str, expected: list[str]) -> None:
    assert offered("bash", *words.split(" ")) == expected


def test_zsh_and_fish_are_told_what_a_value_is() -> None:
    (zsh,) = offered("zsh", "predict", "x", "--soc", "SM8550")
    assert '"SM8550":"Snapdragon 8 Gen 2"' in zsh
    assert offered("fish", "predict", "x", "--soc", "SM8550") == ["SM8550\tSnapdragon 8 Gen 2"]


def test_plans_are_offered_and_the_folders_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "night.toml").touch()
    (tmp_path / "notes.txt").touch()
    assert offered("bash", "plan", "check", f"{tmp_path}/") == [f"{tmp_path}/plans/"]
    assert offered("bash", "plan", "check", f"{tmp_path}/plans/n") == [f"{tmp_path}/plans/night.toml"]
    assert offered("bash", "plan", "check", f"{tmp_path}/nosuch/") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_shown_and_installed(shell: str, tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    shown = subprocess.run(
        [SMOOTHDROID, "--show-completion", shell], env=environment, capture_output=True, text=True, check=True
    )
    assert f"_SMOOTHDROID_COMPLETE=complete_{shell}" in shown.stdout
    done = subprocess.run(
        [SMOOTHDROID, "--install-completion", shell], env=environment, capture_output=True, text=True, check=True
    )
    (installed,) = re.findall(r"installed in (\S+)", " ".join(done.stdout.split()))
    assert Path(installed).read_text().strip() == shown.stdout.strip()


MODULES = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))
sys.argv[0] = "smoothdroid"
from smoothdroid.host.cli import main
main()
"""


@pytest.mark.parametrize("words", [None, ["--help"], ["bench", "--help"]])
def test_neither_tab_nor_help_loads_what_is_heavy(words: list[str] | None) -> None:
    tab = {"_SMOOTHDROID_COMPLETE": "complete_bash", "COMP_WORDS": "smoothdroid\nrun\n--on\n", "COMP_CWORD": "3"}
    done = subprocess.run(
        [sys.executable, "-c", MODULES, *(words or [])],
        env=os.environ | ({} if words else tab),
        capture_output=True,
        text=True,
        check=True,
    )
    assert ("local:" if words is None else "Usage: smoothdroid") in done.stdout
    assert HEAVY & set(json.loads(done.stderr)) == set()


@pytest.fixture
def bash(tmp_path: Path) -> Path:
    """What an interactive bash of a person who installed the completion reads at its start."""
    script = subprocess.run(
        [SMOOTHDROID, "--show-completion", "bash"],
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    # The script asks the program itself, and a person's command line gets to this function.
    record = f"smoothdroid() {{ printf '%s\\n' \"$@\" >{shlex.quote(str(tmp_path))}/arguments; }}"
    (tmp_path / "bashrc").write_text(f"PATH={SMOOTHDROID.parent}:$PATH\nPS1='ready> '\n{record}\n{script}\n")
    return tmp_path / "bashrc"


def typed(bashrc: Path, line: str) -> list[str]:
    """The arguments that a command gets of a person who types this line and Tab."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["bash", "--noprofile", "--rcfile", str(bashrc), "-i"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={**os.environ, "TERM": "dumb", "INPUTRC": "/dev/null", "COLUMNS": "200"},
    )
    os.close(theirs)
    with os.fdopen(ours, "r+b", buffering=0) as terminal:
        said = b""
        while not said.endswith(b"ready> "):
            said += terminal.read(1 << 12)
        terminal.write(f"{line}\t\nexit\n".encode())
        with suppress(OSError):  # EIO: the shell has ended
            while terminal.read(1 << 12):
                pass
        process.wait()
    return bashrc.with_name("arguments").read_text().splitlines()


def test_tab_in_bash(bash: Path, phone: virtual.VirtualPhone) -> None:
    """readline ends words at `:` and `=`."""
    ssh = f"virtual:{phone.name}/ssh"
    assert typed(bash, f"smoothdroid run --on virtual:{phone.name}/") == ["run", "--on", ssh]
    assert typed(bash, f"smoothdroid run --on=virtual:{phone.name}/") == ["run", f"--on={ssh}"]
    assert typed(bash, "smoothdroid run --on loc") == ["run", "--on", "local:"]
    assert typed(bash, f"smoothdroid build --on {ssh} --is") == ["build", "--on", ssh, "--isa"]
    assert typed(bash, "smoothdroid build --on local: --isa i8") == ["build", "--on", "local:", "--isa", "i8mm"]
    assert {f"virtual:{phone.name}", ssh} <= set(offered("bash", "run", "--on", ""))
