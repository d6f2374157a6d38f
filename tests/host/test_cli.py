"""The command line as a user meets it: what it prints where, and its exit status. No phone, no torch."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
from typer.testing import CliRunner

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.info import socs
from smoothdroid.host import cli
from smoothdroid.host.llamacpp import source, toolchain, variants
from smoothdroid.host.results.cell import Protocol, Test
from smoothdroid.host.results.plan import Plan
from tests.host.bundle.builds import build_of
from tests.host.fakes import campaign, model, phone, run_of, write_build, write_gguf, write_results
from tests.host.tiny_gguf import write_llama

SMOOTHDROID = Path(sys.executable).with_name("smoothdroid")
PLAN = Plan(
    models=[model("plain")], threads=[1, 2], tests=[Test(n_prompt=16, n_gen=0)], protocol=Protocol(repetitions=2)
)
CAMPAIGN = campaign(PLAN, phone(emulated=True))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, empty."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SMOOTHDROID_CACHE", str(folder))
    return folder


class Done(NamedTuple):
    """A command that ended."""

    status: object
    out: str
    err: str


Smoothdroid = Callable[..., Done]


@pytest.fixture
def smoothdroid(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Smoothdroid:
    """Run the command in this process, through the same main()."""

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["smoothdroid", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return Done(ended.value.code, printed.out, printed.err)

    return run


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "tiny.gguf", 1)


def commands(command: Any, *names: str) -> Iterator[tuple[str, ...]]:
    """The names of all commands: ("phone", "start")."""
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, *names, name)
    if not hasattr(command, "commands"):
        yield names


ALL = list(commands(typer.main.get_command(cli.app)))


def test_every_command_is_looked_at() -> None:
    assert {("doctor",), ("bench",), ("report",), ("phone", "start")} <= set(ALL)


@pytest.mark.parametrize("names", ALL, ids=" ".join)
def test_help_shows_an_example(names: tuple[str, ...]) -> None:
    for flag in ("--help", "-h"):
        done = CliRunner().invoke(cli.app, [*names, flag])
        assert done.exit_code == 0
        assert "Example: smoothdroid " + " ".join(names) in " ".join(done.stdout.split())


def test_version(smoothdroid: Smoothdroid) -> None:
    done = smoothdroid("--version")
    assert (done.status, done.err) == (0, "")
    python = platform.python_version()
    assert done.out == f"smoothdroid {version('smoothdroid')} (llama.cpp {source.PINNED_COMMIT}, Python {python})\n"


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ("bench {gguf} --on local: --threads 0", 2, "--threads '0': 0 is below 1"),
        ("bench {gguf} --on local: --threads EMPTY", 2, "`--threads`: it is empty"),
        ("bench {gguf} --on local: --threads 8-1", 2, "the range 8-1 is empty"),
        ("bench {gguf} --on local: --threads 1-8*1", 2, "never ends"),
        ("bench {gguf} --on local: --threads 999", 2, "999 threads on"),
        ("bench {gguf} --on local: --prompt x", 2, "--prompt 'x': `x` is neither a number"),
        ("bench {gguf} --on local: --threads 1 --prompt 0 --generate 0", 2, "nothing to measure"),
        ("bench {gguf} --on local: --threads 1 --repetitions 0", 2, "--repetitions 0: at least 1"),
        ("bench {gguf} --on local: --cache-k EMPTY", 2, "`--cache-k`: it is empty"),
        ("bench {gguf} --on local: --cpus huge", 2, "this phone has no `huge`"),
        ("bench {gguf} --on local: --until 2", 2, "--until '2': write a percentage"),
        ("bench {tmp}/wrong.toml --on local:", 2, "wrong.toml: unknown key `thread`; did you mean `threads`?"),
        (
            "bench {tmp}/wrong.toml {gguf} --on local:",
            2,
            "is a plan file, which names its models: give it alone",
        ),
        ("plan check {tmp}/wrong.toml", 2, "did you mean `threads`?"),
        ("plan check {tmp}/nosuch.toml", 2, "nosuch.toml cannot be read"),
        ("bench {gguf} --farm {tmp}/nosuch.toml", 2, "the inventory {tmp}/nosuch.toml cannot be read"),
        ("bench {gguf} --farm tcp://127.0.0.1:9", 3, "does not answer"),
        ("devices --farm {tmp}/wrong.toml", 2, "`thread`"),
        ("devices --release x", 2, "--release needs --farm"),
        ("farm worker nowhere --on local:", 2, "nowhere is not a scheduler's address"),
        ("farm scheduler nowhere", 2, "nowhere is not a scheduler's address"),
        ("bench {tmp}/nosuch.gguf --on local:", 2, "there is no file {tmp}/nosuch.gguf"),
        ("bench {tmp} --on local:", 2, "{tmp} is a folder"),
        ("bench {tmp}/cut.gguf --on local:", 2, "{tmp}/cut.gguf is cut short"),
        ("bench {gguf} --on local: --threads 1 -o {gguf}", 2, "error: {gguf}/"),
        ("bench {gguf} --on local: --isa nosuch", 2, "no build is called --abi host --isa nosuch"),
        ("bench {gguf} --on local: --llama-cpp {tmp}", 2, "{tmp} is no llama.cpp checkout"),
        ("bench {gguf} --on ftp://x", 2, "--on ftp://x: unknown kind of target"),
        ("bench {gguf} --on adb:", 2, "unknown kind of target"),
        ("bench {gguf} --on adb:X@host:port", 2, "`port` is not a port"),
        ("bench {gguf} --on virtual:x/usb", 2, "an emulated phone is reached as"),
        ("bench {gguf} --on virtual:nosuch", 2, "`smoothdroid phone start nosuch` starts it"),
        ("bench {gguf} --on ssh://user@127.0.0.1:1", 3, "127.0.0.1"),
        ("run {tmp}/nosuch.gguf -p x --on local:", 2, "there is no file {tmp}/nosuch.gguf"),
        ("run {gguf} -p x --on local: --threads 0", 2, "--threads"),
        ("run {gguf} -p x --on nosuch", 2, "unknown kind of target"),
        ("evaluate {gguf} {gguf} --kernel kleidiai --on local:", 2, "give one of them"),
        ("evaluate {gguf} {gguf} --isa i8mm", 2, "say which phone with --on"),
        ("report {tmp}/empty", 2, "{tmp}/empty holds no results"),
        ("report {tmp}/nosuch", 2, "{tmp}/nosuch holds no results"),
        ("report {tmp}/good -o {gguf}", 2, "error: {gguf}: File exists"),
        ("report {tmp}/damaged", 2, "{tmp}/damaged/campaign.json is damaged"),
        ("compare {tmp}/good {tmp}/nosuch", 2, "{tmp}/nosuch holds no results"),
        ("compare {tmp}/good {tmp}/good", 2, "A has no measured cell"),
        ("compare {tmp}/good {tmp}/good --threshold 5", 2, "write a percentage"),
        ("compare", 2, "Missing argument"),
        ("compare {tmp}/good", 2, "compare {tmp}/good with what?"),
        ("compare {tmp}/good {tmp}/good {tmp}/good", 2, "unexpected extra argument"),
        ("compare {tmp}/good {tmp}/good --models a,b", 2, "--models compares within one folder"),
        ("compare {tmp}/good {tmp}/good --by threads=1,2", 2, "--by compares within one folder"),
        ("compare {tmp}/good --models a,b --by threads=1,2", 2, "name one of them"),
        ("compare {tmp}/good --models x,y", 2, "no cell has model `x`"),
        ("compare {tmp}/good --by thread=1,2", 2, "did you mean `threads`?"),
        ("compare {tmp}/good --by threads=1,2", 2, "A has no measured cell"),
        ("compare {tmp}/good --by threads=1,2 --threshold 5", 2, "write a percentage"),
        ("build --abi mips", 2, "no build is called --abi mips"),
        ("build --abi host --isa i8mm", 2, "no build is called --abi host --isa i8mm"),
        ("build --abi arm64-v8a --isa nosuch", 2, "v8.0, dotprod, fp16, i8mm"),
        ("build --abi host --llama-cpp {tmp}", 2, "{tmp} is no llama.cpp checkout"),
        ("build --abi host --jobs 0", 2, "--jobs"),
        ("bundle {gguf} -o {tmp}/x.zip", 2, "must be .tar.zst, .tar.gz or .tar"),
        ("bundle {gguf} -o {tmp}/nosuch/x.tar", 2, "the folder {tmp}/nosuch"),
        ("bundle {gguf} -o {tmp}/there.tar", 2, "{tmp}/there.tar exists already: replace it with --force"),
        ("bundle -o {tmp}/x.tar", 2, "name the models to pack, or say --no-models"),
        ("bundle {gguf} --no-models -o {tmp}/x.tar", 2, "not both"),
        ("bundle {gguf} -o {tmp}/x.tar --built-only", 2, "has not been built for arm64-v8a: leave out --built-only"),
        ("bundle {gguf} -o {tmp}/x.tar --abi host --built-only", 2, "a bundle is for phones"),
        ("bundle {gguf} -o {tmp}/x.tar --abi mips", 2, "a bundle is for phones"),
        ("bundle {tmp}/cut.gguf -o {tmp}/x.tar --abi x86_64 --built-only", 2, "{tmp}/cut.gguf is cut short"),
        ("bundle {tmp}/wrong.toml -o {tmp}/x.tar --abi x86_64 --built-only", 2, "{tmp}/wrong.toml is no GGUF file"),
        ("bundle {tmp}/nosuch.gguf -o {tmp}/x.tar --abi x86_64 --built-only", 2, "there is no file {tmp}/nosuch.gguf"),
        ("phone stop nosuch", 2, "no emulated phone nosuch is running"),
        ("phone start x --profile nosuch", 2, "nosuch"),
        ("doctor --for nosuch", 2, "--for nosuch: unknown command; known: doctor, sample, prepare"),
        ("doctor --on nosuch", 2, "unknown kind of target"),
        ("nosuch", 2, "No such command"),
        ("bench", 2, "Missing argument"),
    ],
)
def test_wrong_input_gets_one_clear_message(
    smoothdroid: Smoothdroid, cache: Path, gguf: Path, tmp_path: Path, arguments: str, status: int, says: str
) -> None:
    write_build(cache)
    write_results(tmp_path / "good", CAMPAIGN, [])
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/campaign.json").write_text("{")
    (tmp_path / "wrong.toml").write_text("thread = 4")
    (tmp_path / "cut.gguf").write_bytes(gguf.read_bytes()[:-10])
    (tmp_path / "there.tar").touch()
    build_of(variants.find("x86_64", "avx2"), cache)
    places = {"gguf": gguf, "tmp": tmp_path}
    words = ["" if word == "EMPTY" else word.format(**places) for word in arguments.split()]
    done = smoothdroid(*words)
    assert done.status == status, done.err
    assert says.format(**places) in done.err
    assert "Traceback" not in done.err
    assert done.out == ""


def test_bundle(
    smoothdroid: Smoothdroid,
    cache: Path,
    gguf: Path,
    tmp_path: Path,
    llama_cpp: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for isa in ("v8.0", "i8mm"):
        build_of(variants.find("arm64-v8a", isa), cache)
    # The sources are where this machine has them, for their licences.
    monkeypatch.setattr(source, "unpacked", lambda origin: source.Source(llama_cpp, origin.id, origin.commit))
    output = tmp_path / "llama [x].tar.gz"
    done = smoothdroid("bundle", gguf, "-o", output, "--built-only")
    assert done.status == 0, done.err
    assert done.out.startswith(f"{output}  0 MB")
    assert "not built, so not in it: dotprod, fp16 (without --built-only they will be)" in done.err
    assert "packing MiB" in done.err
    assert "in Termux: tar -xzf 'llama [x].tar.gz', then README.md in llama [x]" in done.err
    with tarfile.open(output) as tar:
        names = tar.getnames()
    inside = {"run.sh", "README.md", "bin/i8mm/llama-completion", "models/tiny.gguf", "licences/llama.cpp/LICENSE"}
    assert {f"llama [x]/{name}" for name in inside} <= set(names)

    before = output.read_bytes()
    told = json.loads(smoothdroid("bundle", gguf, "-o", output, "--force", "--json", "--built-only").out)
    assert output.read_bytes() == before, "the same input, the same bytes"
    assert (told["path"], told["size_bytes"]) == (str(output), len(before))
    assert [build["isa"] for build in told["builds"]] == ["i8mm", "v8.0"]
    assert ([model["name"] for model in told["models"]], told["not_built"]) == (["tiny.gguf"], ["dotprod", "fp16"])

    assert smoothdroid("bundle", "--no-models", "-o", tmp_path / "none.tar", "--built-only").status == 0
    with tarfile.open(tmp_path / "none.tar") as tar:
        assert not [name for name in tar.getnames() if "/models/" in name]


def test_bundle_builds_what_is_missing(
    smoothdroid: Smoothdroid,
    cache: Path,
    gguf: Path,
    tmp_path: Path,
    llama_cpp: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Asked for with a compiler that fails: what was built already is not built again."""
    monkeypatch.setattr(source, "unpacked", lambda origin: source.Source(llama_cpp, origin.id, origin.commit))
    build_of(variants.find("arm64-v8a", "v8.0"), cache)
    asked: list[str] = []

    def no_compiler(abi: str, *, static: bool) -> Any:
        asked.append(abi)
        raise BadInput("no compiler in this test")

    monkeypatch.setattr(toolchain, "for_abi", no_compiler)
    done = smoothdroid("bundle", gguf, "-o", tmp_path / "x.tar")
    assert (done.status, "no compiler in this test" in done.err, asked) == (2, True, ["arm64-v8a"])
    for isa in ("dotprod", "fp16", "i8mm"):
        build_of(variants.find("arm64-v8a", isa), cache)
    done = smoothdroid("bundle", gguf, "-o", tmp_path / "x.tar")
    assert (done.status, "not built" in done.err) == (0, False), done.err
    assert asked == ["arm64-v8a"]


def test_devices_lists_what_answers_and_names_what_does_not(smoothdroid: Smoothdroid) -> None:
    done = smoothdroid("devices", "--on", "nosuch:", "--on", "local:", "--json")
    assert done.status == 2
    assert "unknown kind of target" in done.err
    assert [found["target"] for found in json.loads(done.out)] == ["local:"]


def test_devices_that_are_named_are_listed_alone(smoothdroid: Smoothdroid, monkeypatch: pytest.MonkeyPatch) -> None:
    """What else is attached, and may be offline, is not asked."""
    monkeypatch.setattr("smoothdroid.host.farm.selection.all_attached", lambda warn: ["nosuch:"])
    assert smoothdroid("devices", "--on", "local:").status == 0
    assert smoothdroid("devices").status == 2


def test_a_lab_of_which_one_phone_is_gone(smoothdroid: Smoothdroid, cache: Path, gguf: Path, tmp_path: Path) -> None:
    write_build(cache)
    farm = tmp_path / "farm.toml"
    farm.write_text(
        'quarantine_after = 2\n[phones.desk]\non = "local:"\nlabels = "here"\n[phones.gone]\non = "ssh://nobody@127.0.0.1:9"\n'
    )
    bench = ("bench", gguf, "--farm", farm, *SMALL[2:], "-o", tmp_path / "results")
    first, second = smoothdroid(*bench), smoothdroid(*bench)
    assert [done.status for done in (first, second)] == [3, 3]
    assert "desk: tiny, pp16, 2 threads: 20.50, 21.50 tokens/s" in first.err
    assert "quarantine" not in first.err
    assert "gone goes into quarantine: 2 failures in a row, the last: " in second.err
    third = smoothdroid(*bench)
    assert third.status == 0
    assert "gone is in quarantine and left out." in third.err
    told = smoothdroid("devices", "--farm", farm, "--json")
    desk, gone = json.loads(told.out)
    assert told.status == 0, "what is known to be away is no news"
    assert (desk["reachable"], desk["labels"], desk["last"]) == (True, ["here"], "2 of 2 runs measured")
    assert (gone["reachable"], gone["quarantined"], gone["failures"]) == (False, True, 2)
    assert "--release gone" in third.err
    released = smoothdroid("devices", "--farm", farm, "--release", "gone")
    assert released.status == 3
    assert "unreachable" in released.out
    assert smoothdroid("bench", gguf, "--farm", farm, "--on", "nosuch").status == 2


def test_devices_tells_the_level_and_why(smoothdroid: Smoothdroid) -> None:
    done = smoothdroid("devices", "--on", "local:", "-v")
    assert re.search(r"ISA level: \w+(\.\d)?; (every CPU has|\S+ needs)", done.out), done.out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--isa", "i8mm", "--kleidiai", "/nonexistent"], "is no source tree of KleidiAI"),
        (["--abi", "x86_64", "--isa", "avx2", "--kleidiai", "download"], "KleidiAI has kernels for arm64-v8a"),
        (["--isa", "all"], "needs an NDK"),
        (["--isa", "nosuch"], "v8.0, dotprod, fp16, i8mm, all"),
    ],
)
def test_build_refuses_what_does_not_go_together(
    smoothdroid: Smoothdroid, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: list[str], says: str
) -> None:
    for name in ("ANDROID_NDK", "ANDROID_NDK_HOME", "ANDROID_NDK_ROOT", "ANDROID_HOME", "ANDROID_SDK_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    done = smoothdroid("build", *options)
    assert (done.status, says in " ".join(done.err.split())) == (2, True), done.err


def test_a_phone_without_a_build_is_told_how_to_make_one(smoothdroid: Smoothdroid, gguf: Path) -> None:
    done = smoothdroid("bench", gguf, "--on", "local:")
    assert done.status == 2
    assert "`smoothdroid build --abi host --isa native`" in done.err


SMALL = (
    "--on",
    "local:",
    "--threads",
    "1,2",
    "--prompt",
    "16",
    "--generate",
    "0",
    "--rounds",
    "1",
    "--repetitions",
    "2",
)


def test_bench_and_report(
    smoothdroid: Smoothdroid, cache: Path, gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_build(cache)
    results = tmp_path / "results [bold]"  # a path is no markup
    monkeypatch.setenv("FAKE_DIES_AT", "2")
    first = smoothdroid("bench", gguf, *SMALL, "-o", results)
    assert first.status == 1, "a cell failed"
    (folder,) = results.iterdir()
    assert first.out.splitlines()[-1] == f"{folder}  (1 measured, 1 failed, 0 already measured)"
    assert "failed: `llama-bench` ended" in first.out
    assert "tiny, pp16, 1 thread: 10.50, 11.50 tokens/s" in first.err
    assert "illegal instruction" in first.err

    monkeypatch.delenv("FAKE_DIES_AT")
    second = smoothdroid("bench", gguf, *SMALL, "-o", results, "--json")
    assert second.status == 0
    facts = json.loads(second.out)
    assert (facts["folder"], facts["reused"]) == (str(folder), 1)
    assert [run["tokens_per_s"] for run in facts["runs"]] == [[20.5, 21.5]]
    assert smoothdroid("bench", gguf, *SMALL, "-o", results).out.endswith(
        "(0 measured, 0 failed, 2 already measured)\n"
    )

    told = smoothdroid("report", results, "-o", tmp_path / "report")
    assert told.status == 0
    assert told.out.splitlines()[-2:] == [str(tmp_path / "report" / name) for name in ("cells.csv", "figures")]
    page = (tmp_path / "report" / "report.html").read_text()
    assert "over local" in page
    assert "over local" in told.out
    (section,) = json.loads(smoothdroid("report", results, "-o", tmp_path / "report", "--json").out)
    assert [row["tokens_per_s"] for row in section["rows"]] == [11.0, 21.0]

    with (folder / "runs.jsonl").open("a") as record:
        record.write("nonsense\n")
    damaged = smoothdroid("report", results, "-o", tmp_path / "report")
    assert damaged.status == 0
    assert f"left out: {folder}/runs.jsonl, line 4 is damaged" in damaged.err
    assert "line 4 is damaged" in (tmp_path / "report" / "report.html").read_text()


def test_bench_says_as_json_that_a_cell_failed(
    smoothdroid: Smoothdroid, cache: Path, gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_build(cache)
    monkeypatch.setenv("FAKE_THREADS", "7")
    done = smoothdroid("bench", gguf, *SMALL, "-o", tmp_path / "results", "--json")
    assert done.status == 1
    for run in json.loads(done.out)["runs"]:
        assert "threads 1, it ran 7" in run["failure"] or "threads 2, it ran 7" in run["failure"]
        assert run["tokens_per_s"] == []


def test_a_cell_that_cannot_fit_is_refused_with_the_arithmetic_unless_forced(
    smoothdroid: Smoothdroid, cache: Path, tmp_path: Path
) -> None:
    write_build(cache)
    model = write_llama(tmp_path / "llama.gguf")
    deep = ("bench", model, *SMALL, "--depth", "900000000", "-o", tmp_path / "results")
    refused = smoothdroid(*deep)
    assert (refused.status, refused.out) == (2, "")
    assert "llama, pp16, depth 900000000: needs at least" in refused.err
    assert "of KV cache (900000256 tokens, f16)" in refused.err
    assert "or use --force to try" in refused.err
    assert not (tmp_path / "results").exists()
    assert smoothdroid(*deep, "--force").status == 0
    plan = tmp_path / "plan.toml"
    plan.write_text(f'models = "{model}"\nthreads = 1\ndepth = 900000000\n')
    assert "needs at least" in smoothdroid("plan", "check", plan, "--on", "local:").err


def test_a_plan_is_checked_and_measured(smoothdroid: Smoothdroid, cache: Path, gguf: Path, tmp_path: Path) -> None:
    write_build(cache)
    plan = tmp_path / "plan.toml"
    plan.write_text('models = "*.gguf"\nthreads = [1, 2]\nprompt = 16\ngenerate = 0\nrepetitions = 2\nrounds = 2\n')
    assert "is well formed: 1 models" in smoothdroid("plan", "check", plan).out
    request = json.loads(smoothdroid("plan", "check", plan, "--json").out)["request"]
    assert request["some"] == request["overrides"]
    cells = json.loads(smoothdroid("plan", "check", plan, "--on", "local:", "--json").out)
    assert [cell["threads"] for cell in cells] == [1, 2]
    shown = smoothdroid("plan", "check", plan, "--on", "local:").out
    assert "2 cells on" in shown
    measured = smoothdroid("bench", plan, "--on", "local:", "-o", tmp_path / "results", "--threads", "2", "--json")
    facts = json.loads(measured.out)
    assert [(run["cell"]["threads"], run["round"]) for run in facts["runs"]] == [(2, 0), (2, 1)]
    # The second process has four repetitions: they take 0.76 s each.
    assert [(cell["threads"], cell["processes"], cell["repetitions"]) for cell in facts["cells"]] == [(2, 2, 6)]


def test_run_answers_on_stdout_and_tells_its_speed_on_stderr(smoothdroid: Smoothdroid, cache: Path, gguf: Path) -> None:
    write_build(cache)
    done = smoothdroid("run", gguf, "-p", "Hi", "--on", "local:")
    assert (done.status, done.out.strip()) == (0, "Hello [/there] :100:")
    assert "prefill 500.0 tokens/s (5 tokens), decode 200.0 tokens/s (2 tokens)" in done.err
    facts = json.loads(smoothdroid("run", gguf, "-p", "Hi", "--on", "local:", "--json").out)
    assert (facts["text"], facts["timings"]["generated_tps"]) == ("Hello [/there] :100:", 200.0)


@pytest.mark.parametrize("arguments", ["doctor", "phone list"])
def test_facts_are_json(smoothdroid: Smoothdroid, arguments: str) -> None:
    done = smoothdroid(*arguments.split(), "--json")
    assert done.status == 0
    assert isinstance(json.loads(done.out), list)
    plain = smoothdroid(*arguments.split())
    assert (plain.status, plain.err) == (0, "")


def test_doctor_says_what_to_type(smoothdroid: Smoothdroid, monkeypatch: pytest.MonkeyPatch) -> None:
    """`smoothdroid[build]` once came out as `smoothdroid`: rich took the brackets for markup."""
    monkeypatch.setenv("CXX", "nosuch[build]")
    assert "`'nosuch[build]' --version` does not run" in " ".join(smoothdroid("doctor").out.split())


def test_doctor_ends_with_1_where_something_is_missing_that_is_needed(
    smoothdroid: Smoothdroid, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "nosuchcompiler")
    told = smoothdroid("doctor")
    assert told.status == 0, "a compiler for this machine is optional"
    assert "compiler for this machine (optional): " in told.out
    assert smoothdroid("doctor", "--for", "evaluate").status == 1
    checks = json.loads(smoothdroid("doctor", "--for", "evaluate", "--json").out)
    assert [check["mend"] for check in checks] == [check["fix"] for check in checks]
    assert smoothdroid("doctor", "--for", "report").status == 0
    gone = smoothdroid("doctor", "--for", "report", "--on", "ssh://user@127.0.0.1:1")
    assert gone.status == 1
    assert "Is `sshd` running in Termux" in gone.out


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write_results(tmp_path / "results", CAMPAIGN, [run_of(CAMPAIGN, c, [1.0, 2.0]) for c in PLAN.cells()])


def write_rounds(folder: Path, rates: Mapping[int, list[float]]) -> Path:
    """Results of PLAN, for each number of threads with a rate for each round."""
    runs = [
        run_of(CAMPAIGN, cell, [rate, rate]).model_copy(update={"round": number})
        for cell in PLAN.cells()
        for number, rate in enumerate(rates[cell.threads])
    ]
    return write_results(folder, CAMPAIGN, runs)


@pytest.mark.parametrize(
    ("rates", "arguments", "status"),
    [
        ([9.0, 9.1, 8.9], [], 1),
        ([9.0, 9.1, 8.9], ["--threshold", "20%"], 0),
        ([10.0, 10.1, 9.9], ["--threshold", "0%"], 0),
        ([5.0, 20.0, 1.0], [], 0),
        ([9.0], [], 0),
    ],
)
def test_compare_ends_with_1_on_a_regression(
    smoothdroid: Smoothdroid, tmp_path: Path, rates: list[float], arguments: list[str], status: int
) -> None:
    before, after = (
        write_rounds(tmp_path / name, dict.fromkeys((1, 2), came))
        for name, came in (("before", [10.0, 10.1, 9.9]), ("after", rates))
    )
    shown = smoothdroid("compare", before, after, *arguments)
    assert (shown.status, shown.err) == (status, "")
    assert shown.out.splitlines()[:2] == [f"A: {before}", f"B: {after}"]
    assert "emulated: not the speed of a phone" in shown.out
    assert shown.out.splitlines()[-1].startswith(f"{2 * status} of 2 cells are significantly slower")
    printed = smoothdroid("compare", before, after, *arguments, "--json")
    assert (printed.status, printed.err) == (status, "")
    assert json.loads(printed.out)["regressions"] == 2 * status


def test_one_regression_among_many_faster_cells_ends_with_1(smoothdroid: Smoothdroid, tmp_path: Path) -> None:
    before = write_rounds(tmp_path / "before", {threads: [10.0, 10.1, 9.9] for threads in (1, 2)})
    after = write_rounds(tmp_path / "after", {1: [20.0, 20.1, 19.9], 2: [9.0, 9.1, 8.9]})
    shown = smoothdroid("compare", before, after)
    assert shown.status == 1
    assert shown.out.splitlines()[-1].startswith("1 of 2 cells are significantly slower")


def test_compare_of_two_settings_of_one_folder(smoothdroid: Smoothdroid, tmp_path: Path) -> None:
    folder = write_rounds(tmp_path / "results", {1: [10.0, 11.0, 9.0], 2: [9.0, 9.9, 8.1]})
    shown = smoothdroid("compare", folder, "--by", "threads=1,2")
    assert (shown.status, shown.err) == (1, "")
    assert shown.out.splitlines()[:2] == [f"A: threads 1, in {folder}", f"B: threads 2, in {folder}"]
    assert "3 pairs" in shown.out
    assert smoothdroid("compare", folder, "--by", "threads=2,1").status == 0
    (cell,) = json.loads(smoothdroid("compare", folder, "--by", "threads=1,2", "--json").out)["cells"]
    assert (cell["paired"], cell["threads"], cell["ratio"]) == (True, None, pytest.approx(0.9))


def test_compare_of_one_folder_names_both_uses(smoothdroid: Smoothdroid, results: Path) -> None:
    printed = smoothdroid("compare", results).err
    assert f"smoothdroid compare {results} AFTER" in printed
    assert f"smoothdroid compare {results} --models A,B" in printed
    assert "--by threads=4,8" in printed


def test_compare_says_what_its_exit_status_means(smoothdroid: Smoothdroid) -> None:
    printed = " ".join(smoothdroid("compare", "--help").out.split())
    assert "1 when at least one cell is a regression: B is significantly slower" in printed
    assert "its estimated slowdown exceeds --threshold. 0 otherwise" in printed


@pytest.fixture
def asked_about(tmp_path: Path) -> Path:
    """Results of two cells, one of them not to be believed."""
    one, other = PLAN.cells()
    runs = [run_of(CAMPAIGN, one, [10.0, 10.02]), run_of(CAMPAIGN, other, [5.0, 9.0])]
    return write_results(tmp_path / "results", CAMPAIGN, runs)


def test_query_answers_on_stdout_and_says_what_it_does_on_stderr(smoothdroid: Smoothdroid, asked_about: Path) -> None:
    sql = "SELECT n_threads, verdict, tokens_per_s FROM cells ORDER BY n_threads"
    shown = smoothdroid("query", sql, asked_about)
    assert shown.status == 0
    assert "10.01" in shown.out
    assert "evaluating campaigns: 1/1" in shown.err
    assert "emulated" in shown.err
    told = smoothdroid("query", sql, asked_about, "--json")
    assert json.loads(told.out) == [
        {"n_threads": 1, "verdict": "valid", "tokens_per_s": 10.01},
        {"n_threads": 2, "verdict": "unstable", "tokens_per_s": None},
    ]
    assert "evaluating" not in told.err
    assert "evaluating campaigns: 1/1" in smoothdroid("query", sql, asked_about, "--again").err


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_query_exports_and_replaces_only_when_told(
    smoothdroid: Smoothdroid, asked_about: Path, tmp_path: Path, kind: str
) -> None:
    file = tmp_path / f"cells.{kind}"
    call = ("query", "SELECT n_threads FROM cells ORDER BY ALL", asked_about, f"--{kind}", file)
    done = smoothdroid(*call)
    assert (done.status, done.out) == (0, f"{file}\n")
    written = file.read_bytes()
    assert written == b"n_threads\n1\n2\n" if kind == "csv" else written.startswith(b"PAR1")
    refused = smoothdroid(*call)
    assert refused.status == 2
    assert f"{file} already exists: --force replaces it" in refused.err
    assert smoothdroid(*call, "--force").status == 0


def test_query_shows_so_many_rows_and_says_so(smoothdroid: Smoothdroid, asked_about: Path) -> None:
    done = smoothdroid("query", "FROM range(201)", asked_about)
    assert "199" in done.out.split()
    assert "200" not in done.out.split()
    assert "the first 200 rows; --csv, --parquet and --json give all" in done.err
    whole = smoothdroid("query", "FROM range(201)", asked_about, "--json")
    assert len(json.loads(whole.out)) == 201


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "what is the question?"),
        (["SELEC 1"], "syntax error"),
        (["FROM cells", "--json", "--csv", "x.csv"], "goes to one of them"),
        (["FROM cells", "--csv", "nowhere/x.csv"], "folder nowhere does not exist"),
        (["FROM cells", "nowhere"], "nowhere holds no results"),
        (["SELECT 1 AS a, 2 AS a", "--json"], "two columns are called `a`"),
    ],
)
def test_query_refuses_in_one_line(
    smoothdroid: Smoothdroid,
    asked_about: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(asked_about.parent)
    done = smoothdroid("query", *arguments)
    assert (done.status, done.out) == (2, "")
    assert said in done.err.splitlines()[-1]


def test_query_leaves_a_damaged_campaign_out_and_names_it(smoothdroid: Smoothdroid, asked_about: Path) -> None:
    damaged = write_results(asked_about.parent / "damaged", CAMPAIGN, [])
    (damaged / "campaign.json").write_text("{")
    done = smoothdroid("query", "SELECT count(*) AS n FROM cells", asked_about, damaged, "--json")
    assert done.status == 1
    assert json.loads(done.out) == [{"n": 2}]
    assert f"left out: {damaged}" in done.err


def test_query_says_what_can_be_asked(smoothdroid: Smoothdroid) -> None:
    shown = smoothdroid("query", "--tables")
    assert shown.status == 0
    assert {"campaigns:", "cells:", "runs:", "tokens_per_s_low", "samples_ts"} <= set(shown.out.split())
    told = json.loads(smoothdroid("query", "--tables", "--json").out)
    assert {column["name"] for column in told["cells"]} >= {"campaign", "verdict", "tokens_per_s"}


def test_predict_says_what_to_expect_and_what_is_impossible(smoothdroid: Smoothdroid) -> None:
    shown = smoothdroid("predict", "llama-2-7b", "--soc", "8 gen 3", "--soc", "SM8475")
    assert shown.status == 0
    assert "llama-2-7b q8_0: 7.02 GB of weights for each token" in shown.out
    assert "Snapdragon 8 Gen 3" in shown.out
    assert "10.9" in shown.out.split(), "the ceiling"
    assert "expected, not measured" in shown.err
    assert "no prefill" in shown.err
    told = json.loads(smoothdroid("predict", "llama-2-7b", "--soc", "8 gen 3", "--json").out)
    (one,) = told["predictions"]
    assert one["soc"] == "Snapdragon 8 Gen 3"
    assert one["decode"]["low"] < one["decode"]["middle"] < one["decode"]["high"] <= one["decode"]["ceiling"]
    assert told["model"]["weights_bytes"] == 7_020_019_712


def test_predict_knows_files_and_every_soc(smoothdroid: Smoothdroid, tmp_path: Path) -> None:
    file = write_llama(tmp_path / "tiny.gguf")
    told = smoothdroid("predict", file, "--json")
    assert (told.status, told.err) == (0, "")
    predictions = json.loads(told.out)["predictions"]
    assert len(predictions) == len(socs.everything())
    assert {one["decode"] for one in predictions} == {None}
    assert "no decode: so small a model may fit in the CPU's caches" in smoothdroid("predict", file).err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["llama-9"],
            "unknown model 'llama-9': expected a GGUF file, a folder with a config.json, or one of llama-2-7b",
        ),
        (["llama-2-7b", "--soc", "Snapdragon 8 Gen 9"], "unknown SoC 'Snapdragon 8 Gen 9'; did you mean SM8"),
        (["llama-2-7b", "--soc", "foo"], "unknown SoC 'foo'; known are SM8"),
        (["llama-2-7b", "--type", "q9_0"], "ggml has no type `q9_0`"),
    ],
)
def test_predict_refuses_what_it_does_not_know(smoothdroid: Smoothdroid, arguments: list[str], said: str) -> None:
    done = smoothdroid("predict", *arguments)
    assert (done.status, done.out) == (2, "")
    assert said in done.err


BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "safetensors", "duckdb"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

if "block" in sys.argv[1]:
    sys.meta_path.insert(0, Blocker())
sys.argv[:] = ["smoothdroid", *sys.argv[2:]]
from smoothdroid.host.cli import main
try:
    main()
finally:
    print(sorted({"torch", "transformers", "safetensors"} & set(sys.modules)), file=sys.stderr)
"""


def without_extras(how: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCKED, how, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize("how", ["blocked", "there"])
def test_report_needs_no_torch_and_loads_none(results: Path, tmp_path: Path, how: str) -> None:
    done = without_extras(how, "report", results, "-o", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"
    assert "emulated: not the speed of a phone" in done.stdout


def test_prepare_without_torch_says_what_to_install(tmp_path: Path) -> None:
    done = without_extras("blocked", "prepare", tmp_path, "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "preparing a model needs torch: `pip install 'smoothdroid[model]'`" in done.stderr
    assert "Traceback" not in done.stderr


def test_query_without_duckdb_says_what_to_install(results: Path) -> None:
    done = without_extras("blocked", "query", "FROM cells", results)
    assert done.returncode == 2
    assert "querying results needs DuckDB: `pip install 'smoothdroid[query]'`" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_installed_command_ends_with_the_errors_status(results: Path, tmp_path: Path) -> None:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [str(SMOOTHDROID), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))

    wrong = run("report", tmp_path / "nosuch")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("error: ")
    assert run("bench", "x.gguf", "--on", "ssh://user@127.0.0.1:1").returncode == 3
    assert json.loads(run("report", results, "-o", tmp_path / "report", "--json").stdout)
