"""A bundle as a Termux user meets it: sent over SSH, unpacked and started with the phone's own shell and tools."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

from smoothdroid.device.transport.resolve import open_target
from smoothdroid.device.transport.target import Target, remove
from smoothdroid.device.virtual import VirtualPhone
from smoothdroid.host.llamacpp.variants import usable
from tests.e2e.conftest import SMOOTHDROID, Cli, Desk
from tests.host.tiny_gguf import Q8_0, write_llama
from tests.waiting import GIVE_UP_S, eventually

pytestmark = pytest.mark.e2e

KOREAN = "안녕하세요! 한국어로 대답해주세요."
HOSTILE = "안녕하세요! \"$(id)\" `id` 'x' \\n * $HOME ; exit\n둘째 줄"

# In a tool's place: what it was given, one argument a line.
ECHO = r"""#!/system/bin/sh
for word; do printf '<%s>\n' "$word"; done
"""


@contextmanager
def unpacked(target: Target, bundle: Path) -> Iterator[str]:
    """The bundle's folder in Termux's home, every file checked there against the sums.

    As .tar.gz: the phone's tar is toybox's, which calls no zstd, and there is none to call.
    """
    home = str(PurePosixPath(target.root).parent)
    folder = f"{home}/{bundle.name.removesuffix('.tar.gz')}"
    try:
        target.push(bundle, f"{home}/{bundle.name}")
        target.run(["tar", "-C", home, "-xzf", f"{home}/{bundle.name}"], timeout_s=GIVE_UP_S)
        checked = target.run(["sh", "-c", f"cd {folder} && sha256sum -c sha256sums"], timeout_s=GIVE_UP_S).stdout
        files = target.run(["find", folder, "-type", "f"]).stdout.splitlines()
        assert re.findall(r": (\w+)$", checked, re.MULTILINE) == ["OK"] * (len(files) - 1), checked
        yield folder
    finally:
        remove(target, folder)
        remove(target, f"{home}/{bundle.name}")


def here(folder: str, *words: str) -> list[str]:
    """What a user types in the bundle's folder."""
    return ["sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", folder, *words]


@dataclass(frozen=True)
class Bundle:
    file: Path
    level: str
    """Of the builds in it, the one that suits the desk's phone."""


@pytest.fixture(scope="module")
def bundle(cli: Cli, prepared: Path, desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The sample's smooth and plain model, in this order, with every build that there is for the desk's phone."""
    output = tmp_path_factory.mktemp("bundle") / "smollm2-termux.tar.gz"
    models = sorted(prepared.glob("*.gguf"), reverse=True)
    abi, features = desk.facts["abi"], desk.facts["features"]
    told = json.loads(cli("bundle", *models, "-o", output, "--abi", abi, "--built-only", "--json").stdout)
    assert told["size_bytes"] == output.stat().st_size
    built = [build["isa"] for build in told["builds"]]
    return Bundle(output, next(variant.isa for variant in usable(abi, features) if variant.isa in built))


def test_a_bundle_answers_on_a_phone(bundle: Bundle, desk: Desk) -> None:
    with closing(open_target(desk.ways[-1])) as target, unpacked(target, bundle.file) as folder:
        # Two threads: more than there are cores take turns, under an emulator for minutes.
        done = target.run(here(folder, "./run.sh", "-t", "2", "-n", "4", KOREAN), timeout_s=GIVE_UP_S)
        assert done.stdout.strip()
        assert f"build {bundle.level}: all cores have: " in done.stderr
        assert "model SmolLM2-135M-Instruct-smooth-q8_0.gguf" in done.stderr
        assert re.search(r"prefill [\d.]+ tokens/s, decode [\d.]+ tokens/s\n$", done.stderr)

        # Nothing on the way to a tool takes a prompt apart: not SSH's shell, not the script.
        tool = f"{folder}/bin/echo/llama-completion"
        script = 'mkdir -p "${1%/*}" && printf %s "$2" >"$1" && chmod 755 "$1"'
        target.run(["sh", "-c", script, "sh", tool, ECHO])
        given = target.run(here(folder, "./run.sh", "--level", "echo", "--", HOSTILE))
        assert f"<-p>\n<{HOSTILE}>\n<-n>\n" in given.stdout
        big = re.search(r"threads (\d+): \1 of \d+ cores are big or mid \(", given.stderr)
        assert big
        assert f"<-t>\n<{big[1]}>\n" in given.stdout

        plain = "models/SmolLM2-135M-Instruct-plain-q8_0.gguf"
        other = target.run(
            here(folder, "./run.sh", "-q", "-m", plain, "-t", "2", "-n", "2", HOSTILE), timeout_s=GIVE_UP_S
        )
        assert other.stdout.strip()
        assert other.stderr == ""
        wrong = target.run(here(folder, "./run.sh", "-m", "README.md", "hi"), timeout_s=GIVE_UP_S, check=False)
        assert wrong.exit_status == 1
        assert "it ended with status" in wrong.stderr
        left = target.run(["sh", "-c", 'ls "${TMPDIR:-/nosuch}"'], check=False).stdout
        assert "smoothdroid-run" not in left


def test_a_damaged_bundle_is_noticed_on_the_phone(bundle: Bundle, desk: Desk) -> None:
    with closing(open_target(desk.ways[-1])) as target, unpacked(target, bundle.file) as folder:
        target.run(["sh", "-c", f"echo x >>{folder}/bin/levels"])
        checked = target.run(here(folder, "sha256sum", "-c", "sha256sums"), check=False, timeout_s=GIVE_UP_S)
        assert checked.exit_status != 0
        assert re.findall(r"^(.*): FAILED$", checked.stdout, re.MULTILINE) == ["bin/levels"]


def test_an_older_phone_gets_the_build_that_it_can_run(cli: Cli, older_phone: VirtualPhone, tmp_path: Path) -> None:
    """A CPU of 2014, and cores that say so: the best build would die there, the right one is chosen and runs."""
    output = tmp_path / "tiny.tar.gz"
    told = json.loads(
        cli("bundle", write_llama(tmp_path / "tiny.gguf", Q8_0), "-o", output, "--built-only", "--json").stdout
    )
    if "v8.0" not in [build["isa"] for build in told["builds"]]:
        pytest.fail("this test runs a second level: `smoothdroid build --abi arm64-v8a --isa v8.0`")
    with closing(open_target(f"virtual:{older_phone.name}/ssh")) as target, unpacked(target, output) as folder:
        done = target.run(here(folder, "./run.sh", "--raw", "-n", "4", "a b"), timeout_s=GIVE_UP_S)
        assert "build v8.0: all cores have: asimd; i8mm needs" in done.stderr
        assert re.search(r"decode [\d.]+ tokens/s\n$", done.stderr)
        dead = target.run(here(folder, "./run.sh", "--level", "i8mm", "--raw", "a b"), check=False, timeout_s=GIVE_UP_S)
        assert dead.exit_status == 1
        assert "the CPU does not support an instruction of this build. Try another build: --level" in dead.stderr


def test_ctrl_c_leaves_nothing(prepared: Path, tmp_path: Path) -> None:
    output = tmp_path / "x.tar.gz"
    models = [str(path) for path in prepared.glob("*.gguf")]
    # Started in the background, a shell's child ignores SIGINT, and so would ours.
    command = ["env", "--default-signal=INT", str(SMOOTHDROID), "bundle", *models, "-o", str(output), "--built-only"]

    def begun() -> bool:
        return any(path.stat().st_size > 1 << 20 for path in tmp_path.iterdir())

    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        eventually(lambda: begun() or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=GIVE_UP_S)
    assert process.returncode == 130, errors
    assert b"Traceback" not in errors
    assert list(tmp_path.iterdir()) == []
