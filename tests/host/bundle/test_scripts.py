"""The scripts that go to the phone, run by this machine's shells; tests/e2e runs them by the phone's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from smoothdroid.device.info.cpu import parse_features
from smoothdroid.host.bundle import contents
from smoothdroid.host.llamacpp import command_lines
from smoothdroid.host.llamacpp.variants import VARIANTS, runnable
from tests.host.bundle.builds import build_of, packed

PHONES = Path(__file__).parents[2] / "data/phones"
SHELLS = [shell for shell in ("dash", "bash", "mksh", "busybox") if shutil.which(shell)]
EVERY_ARM = [variant for variant in VARIANTS if variant.abi == "arm64-v8a"]

# What llama-completion would do, and how it may end.
TOOL = """#!/bin/sh
{ for word; do printf '%s\\0' "$word"; done; } >"$ASKED"
echo "$LD_LIBRARY_PATH" >"$ASKED.libraries"
env >"$ASKED.env"
echo 'An answer'
echo '0.1 I common_perf_print: prompt eval time = 1.0 ms / 5 tokens ( 2.0 ms per token,  500.25 tokens per second)' >&2
echo '0.1 I common_perf_print:        eval time = 1.0 ms / 2 runs ( 5.0 ms per token,  200.75 tokens per second)' >&2
[ -z "$STOPS" ] || kill -s "$STOPS" $PPID
[ -z "$DIES" ] || kill -s "$DIES" $$
"""


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> list[str]:
    name: str = request.param
    return ["busybox", "sh"] if name == "busybox" else [name]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle, unpacked, its tools played by a script."""
    builds = [build_of(variant, tmp_path / "cache", TOOL) for variant in EVERY_ARM]
    model = tmp_path / "tiny model's.gguf"
    return packed(tmp_path / "my bundle", builds, [model])


def run(shell: list[str], script: Path, *arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    command = [*shell, str(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **env})


@pytest.mark.parametrize("phone", sorted(PHONES.glob("*.txt")), ids=lambda path: path.stem)
def test_a_real_phone_gets_the_level_that_this_side_would_choose(
    shell: list[str], folder: Path, phone: Path, tmp_path: Path
) -> None:
    sections = re.split(r"^==(\w+)\r?$", phone.read_bytes().decode(), flags=re.MULTILINE)
    cpuinfo = dict(zip(sections[1::2], sections[2::2], strict=True))["cpuinfo"]
    (tmp_path / "cpuinfo").write_text(cpuinfo, newline="")
    chosen = run(shell, folder / "bin/level.sh", tmp_path / "cpuinfo")
    best = [variant.isa for variant in runnable("arm64-v8a", parse_features(cpuinfo))][:1]
    assert chosen.stdout.split()[:1] == best, chosen.stderr
    assert chosen.returncode == (0 if best else 1)


NEW, OLD = "fp asimd fphp asimdhp asimddp i8mm", "fp asimd asimdhp"


@pytest.mark.parametrize(
    ("cpuinfo", "level", "says"),
    [
        (f"Features\t: {NEW}\n", "i8mm", "all cores have: asimd asimddp asimdhp fphp i8mm"),
        (f"Features\t: {NEW}\n\nFeatures\t: {OLD}\n", "v8.0", "i8mm needs asimddp fphp i8mm"),
        (f"Features\t: {OLD}\n\nFeatures\t: {NEW}\n", "v8.0", "dotprod needs asimddp"),
        (f"Features\t: {NEW.replace('i8mm', 'svei8mm')}\n", "fp16", "i8mm needs i8mm"),  # whole words
        (f"Features\t:\n\nFeatures\t: {NEW}\n", "", "no build in this bundle runs on this phone; i8mm needs"),
        ("Features\t: half thumb neon\n", "", "v8.0 needs asimd"),
        ("processor\t: 0\n", "", "does not list the features"),
        ("", "", "does not list the features"),
    ],
)
def test_a_level_needs_its_words_of_every_core(
    shell: list[str], folder: Path, tmp_path: Path, cpuinfo: str, level: str, says: str
) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    chosen = run(shell, folder / "bin/level.sh", tmp_path / "cpuinfo")
    assert (chosen.stdout.split() or [""])[0] == level
    assert says in chosen.stdout + chosen.stderr


def test_a_level_that_is_not_in_the_bundle_is_not_chosen(shell: list[str], tmp_path: Path) -> None:
    builds = [build_of(variant, tmp_path / "cache", TOOL) for variant in (EVERY_ARM[0], EVERY_ARM[-1])]
    folder = packed(tmp_path / "two", builds, [])
    (tmp_path / "cpuinfo").write_text(f"Features\t: {NEW.replace('i8mm', '')}\n")
    assert run(shell, folder / "bin/level.sh", tmp_path / "cpuinfo").stdout.startswith("v8.0 ")


PIXEL_8 = [1704000] * 4 + [2367000] * 4 + [2914000]


@pytest.mark.parametrize(
    ("speeds", "capacities", "threads", "says"),
    [
        (PIXEL_8, None, 5, "5 of 9 cores are big or mid (cpufreq)"),
        ([2500000] * 4 + [1800000] * 4, None, 4, "4 of 8 cores"),  # the fast ones first, as on an SDM630
        (PIXEL_8, [150] * 4 + [600] * 4 + [1024], 5, "5 of 9 cores are big or mid (cpu_capacity)"),
        # Two kinds, none of them small; by their speed six would be.
        ([3532000] * 6 + [4320000] * 2, [800] * 6 + [1024] * 2, 8, "8 of 8 cores are big or mid (cpu_capacity)"),
        ([2000000] * 8, None, 8, "all 8 cores are equally fast (cpufreq)"),
        ([2000000] * 8, [1024] * 8, 8, "all 8 cores are equally fast (cpufreq)"),
        ([*PIXEL_8[:-1], None], None, 4, "does not report the speed of its cores: half of 9"),  # one is offline
        ([None] * 8, None, 4, "half of 8"),
        ([None], None, 1, "half of 1"),
        (["<unknown>"] * 8, None, 4, "half of 8"),
        ([], None, 4, "half of 0"),
    ],
)
def test_threads_are_the_big_cores(
    shell: list[str],
    folder: Path,
    tmp_path: Path,
    speeds: list[object],
    capacities: list[int] | None,
    threads: int,
    says: str,
) -> None:
    for number, speed in enumerate(speeds):
        cpu = tmp_path / "cpus" / f"cpu{number}"
        (cpu / "cpufreq").mkdir(parents=True)
        if speed is not None:
            (cpu / "cpufreq/cpuinfo_max_freq").write_text(f"{speed}\n")
        if capacities:
            (cpu / "cpu_capacity").write_text(f"{capacities[number]}\n")
    (tmp_path / "cpus").mkdir(exist_ok=True)
    (tmp_path / "cpus/cpuidle").mkdir()
    done = run(shell, folder / "bin/threads.sh", tmp_path / "cpus")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split(maxsplit=1)[0] == str(threads)
    assert says in done.stdout


HOSTILE = "안녕하세요! \"$(id)\" `id` 'x' \\n * $HOME\n둘째 줄"


@pytest.mark.parametrize(
    ("options", "raw"), [([], False), (["-t", "3", "-n", "7", "--temp", "0", "--seed", "4", "--raw"], True)]
)
def test_run_asks_what_smoothdroid_run_would_ask(
    shell: list[str], folder: Path, tmp_path: Path, options: list[str], raw: bool
) -> None:
    """One command line, on two sides: what is a default there is one here."""
    done = run(
        shell,
        folder / "run.sh",
        "--level",
        "fp16",
        *options,
        HOSTILE,
        ASKED=str(tmp_path / "asked"),
        TMPDIR=str(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("An answer\n")
    asked = (tmp_path / "asked").read_bytes().decode().split("\0")[:-1]
    threads = 3 if raw else int(asked[asked.index("-t") + 1])
    like = command_lines.llama_completion(
        str(folder / "bin/fp16/llama-completion"),
        str(folder / "models/tiny model's.gguf"),
        HOSTILE,
        max_tokens=7 if raw else 128,
        threads=threads,
        temperature=0 if raw else 0.8,
        seed=4 if raw else 0,
    )
    assert [str(folder / "bin/fp16/llama-completion"), *asked] == [*like, "-no-cnv" if raw else "--single-turn"]
    assert "build fp16: as requested" in done.stderr
    assert done.stderr.endswith("· prefill 500.25 tokens/s, decode 200.75 tokens/s\n")
    assert not list(tmp_path.glob("smoothdroid-run.*")), "the log is gone"


def test_libraries_are_looked_for_beside_the_tools(shell: list[str], folder: Path, tmp_path: Path) -> None:
    for before, after in (("", ""), ("/other", ":/other")):
        env = {"ASKED": str(tmp_path / "asked"), "LD_LIBRARY_PATH": before}
        run(shell, folder / "run.sh", "--level", "v8.0", "x", **env)
        assert (tmp_path / "asked.libraries").read_text() == f"{folder}/bin/v8.0{after}\n"


@pytest.mark.parametrize("value", ["q4_0", "a b LLAMA_B=1 LLAMA_C-d=2 *", "it's\n$(id)"])
@pytest.mark.fault(
    "the shell that runs a bundle exports options of llama.cpp (LLAMA_ARG_CACHE_TYPE_K=q4_0)",
    transport="local",
    outcome="they are unset: the options of run.sh alone count",
)
def test_options_of_llama_cpp_in_the_environment_affect_nothing(
    shell: list[str], folder: Path, tmp_path: Path, value: str
) -> None:
    env = {"LLAMA_ARG_CACHE_TYPE_K": value, "GGML_OP_OFFLOAD_MIN_BATCH": value, "OTHER": "kept"}
    done = run(shell, folder / "run.sh", "--level", "v8.0", "x", ASKED=str(tmp_path / "asked"), **env)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "asked.env").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith(("LLAMA_", "GGML_"))] == []
    assert "OTHER=kept" in lines


@pytest.mark.parametrize("place", ["", "/nosuch"])
def test_without_a_place_for_temporary_files_it_runs_too(
    shell: list[str], folder: Path, tmp_path: Path, place: str
) -> None:
    env = {"ASKED": str(tmp_path / "asked"), "TMPDIR": place}
    done = run(shell, folder / "run.sh", "--level", "v8.0", "x", **env)
    assert "prefill 500.25 tokens/s" in done.stderr
    assert not list(folder.glob("smoothdroid-run.*"))


def test_words_without_quotes_are_one_prompt_and_quiet_is_quiet(shell: list[str], folder: Path, tmp_path: Path) -> None:
    done = run(shell, folder / "run.sh", "-q", "--level", "v8.0", "--", "-two", "words", ASKED=str(tmp_path / "asked"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "An answer\n\n", "")
    asked = (tmp_path / "asked").read_text().split("\0")
    assert asked[asked.index("-p") + 1] == "-two words"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], '"PROMPT"'),
        ([""], '"PROMPT"'),
        (["--nosuch", "x"], "unknown option --nosuch"),
        (["-t"], "-t: needs a value"),
        (["-t", "0", "x"], "-t 0: must be a number of at least 1"),
        (["-t", "two", "x"], "-t two: must be a number"),
        (["-n", "-1", "x"], "-n -1: must be a number"),
        (["-m", "/nosuch.gguf", "x"], "the model /nosuch.gguf does not exist"),
        (["--level", "sve9", "x"], "unknown build sve9; this bundle contains i8mm, fp16, dotprod, v8.0"),
    ],
)
def test_what_is_wrong_is_told(shell: list[str], folder: Path, arguments: list[str], says: str) -> None:
    done = run(shell, folder / "run.sh", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr


def test_help_names_the_builds(shell: list[str], folder: Path) -> None:
    done = run(shell, folder / "run.sh", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "i8mm, fp16, dotprod, v8.0)" in done.stdout


@pytest.mark.parametrize(
    ("signal", "says"), [("ILL", "Try another build: --level"), ("KILL", "for the memory"), ("TERM", "with status 143")]
)
def test_a_tool_that_dies_is_explained(shell: list[str], folder: Path, tmp_path: Path, signal: str, says: str) -> None:
    done = run(shell, folder / "run.sh", "--level", "i8mm", "x", ASKED=str(tmp_path / "asked"), DIES=signal)
    assert done.returncode == 1
    assert says in done.stderr
    assert "common_perf_print" in done.stderr, "the end of its log"


@pytest.mark.parametrize("signal", ["TERM", "HUP"])
def test_stopped_it_leaves_nothing(shell: list[str], folder: Path, tmp_path: Path, signal: str) -> None:
    env = {"ASKED": str(tmp_path / "asked"), "TMPDIR": str(tmp_path), "STOPS": signal}
    done = run(shell, folder / "run.sh", "--level", "i8mm", "x", **env)
    assert done.returncode == 143
    assert not list(tmp_path.glob("smoothdroid-run.*"))


def test_a_place_that_runs_nothing_is_named(shell: list[str], folder: Path) -> None:
    (folder / "bin/v8.0/llama-completion").chmod(0o644)
    done = run(shell, folder / "run.sh", "--level", "v8.0", "x")
    assert (done.returncode, "not on /sdcard" in done.stderr) == (2, True)


def test_a_bundle_without_a_model_asks_for_one(shell: list[str], tmp_path: Path) -> None:
    folder = packed(tmp_path / "none", [build_of(EVERY_ARM[0], tmp_path / "cache", TOOL)], [])
    done = run(shell, folder / "run.sh", "--level", "v8.0", "x")
    assert (done.returncode, "name a .gguf file with -m" in done.stderr) == (2, True)
    model = tmp_path / "mine.gguf"
    model.touch()
    done = run(shell, folder / "run.sh", "--level", "v8.0", "-m", model, "x", ASKED=str(tmp_path / "asked"))
    assert done.returncode == 0, done.stderr


def test_it_runs_from_anywhere(shell: list[str], folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(f"Features\t: {NEW}\n")
    for where, script in ((folder, "run.sh"), (folder.parent, f"{folder.name}/run.sh"), (folder, "./run.sh")):
        command = [*shell, script, "-q", "--level", "v8.0", "x"]
        env = {**os.environ, "ASKED": str(tmp_path / "asked")}
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=where, env=env)
        assert done.stdout == "An answer\n\n", done.stderr
    done = subprocess.run(
        [*shell, "level.sh", str(tmp_path / "cpuinfo")], capture_output=True, text=True, check=True, cwd=folder / "bin"
    )
    assert done.stdout.startswith("i8mm ")


def test_the_table_on_the_phone_is_that_of_the_builds(folder: Path) -> None:
    lines = [line.split() for line in (folder / "bin/levels").read_text().splitlines()]
    assert [(name, frozenset(needs)) for name, *needs in lines] == [(v.isa, v.needs) for v in reversed(EVERY_ARM)]
    assert contents.TOOLS[0] == "llama-completion"
