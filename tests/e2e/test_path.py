from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path

import pytest

from smoothdroid.device.transport.resolve import open_target
from smoothdroid.device.virtual import VirtualPhone
from tests.e2e.conftest import SMOOTHDROID, Cli, Desk
from tests.host.tiny_gguf import Q8_0, write_llama
from tests.waiting import GIVE_UP_S, eventually

pytestmark = pytest.mark.e2e

SMALL = ("--threads", "1", "--prompt", "8", "--generate", "3", "--rounds", "1", "--repetitions", "2")


def models(prepared: Path) -> list[Path]:
    return sorted(prepared.glob("*.gguf"))


def test_prepare_proves_what_it_wrote(prepared: Path) -> None:
    plain, smooth = models(prepared)
    assert plain.name == "SmolLM2-135M-Instruct-plain-q8_0.gguf"
    assert smooth.name == "SmolLM2-135M-Instruct-smooth-q8_0.gguf"
    manifest = json.loads(smooth.with_name(smooth.name + ".json").read_text())
    assert 0 < manifest["outcome"]["equivalence"]["max_abs_logit_difference"] <= 1e-3
    # 135M weights at 8.5 bits: half of f16 and a little.
    assert 0.5 < smooth.stat().st_size / (2 * 134_515_008) < 0.56


def test_bench_over_both_ways_and_report(cli: Cli, desk: Desk, tmp_path: Path) -> None:
    """Tiny models under the names of the real ones, which are measured in the other tests."""
    results, report = tmp_path / "results", tmp_path / "report"
    tiny = [
        write_llama(tmp_path / "SmolLM2-135M-Instruct-plain-q8_0.gguf", Q8_0),
        write_llama(tmp_path / "SmolLM2-135M-Instruct-smooth-q8_0.gguf", Q8_0, letters="▁zyxwvutsrqponmlkjihgfedcba.,"),
    ]
    for way in desk.ways:
        call = ("bench", *tiny, "--on", way, *SMALL, "--rounds", "2", "-o", results, "--json")
        first = json.loads(cli(*call).stdout)
        assert [run["round"] for run in first["runs"]] == [0] * 4 + [1] * 4
        assert first["reused"] == 0
        for run in first["runs"]:
            assert run["failure"] is None
            assert len(run["tokens_per_s"]) >= 2
            assert all(rate > 0 for rate in run["tokens_per_s"])
            assert run["bench"]["n_threads"] == run["cell"]["threads"]
        for cell in first["cells"]:
            assert cell["processes"] == 2
            assert cell["tokens_per_s_low"] < cell["tokens_per_s"] < cell["tokens_per_s_high"]
            assert (cell["joules_per_token"] is None) or not desk.facts["emulated"]
        again = json.loads(cli(*call).stdout)
        assert (again["runs"], again["reused"], again["folder"]) == ([], 4, first["folder"])

    printed = cli("report", results, "-o", report).stdout
    assert len(set(re.findall(rf"{re.escape(desk.title)}, over (\w+)", printed))) == len(desk.ways)
    cells = (report / "report.md").read_text().partition("## All cells")[2].partition("## How it was measured")[0]
    rows = re.findall(r"^\| SmolLM2-135M-Instruct-(?:plain|smooth)-q8_0 \|", cells, re.MULTILINE)
    assert len(rows) == 4 * len(desk.ways)
    assert "not measured" not in cells
    assert ("emulated:" in cells) == desk.facts["emulated"]
    assert (report / "figures" / "threads-1.png").read_bytes().startswith(b"\x89PNG")
    assert "Tokens per second over threads" in (report / "report.html").read_text()
    assert printed.splitlines()[-4:] == [
        str(report / name) for name in ("report.html", "report.md", "cells.csv", "figures")
    ]


def test_a_prompt_reaches_the_model_unharmed_over_both_ways(cli: Cli, prepared: Path, desk: Desk) -> None:
    """The tokens that llama.cpp counted and what it answered without chance are the same on every way."""
    prompt = "안녕하세요! 한국어로 대답해주세요. \"$(id)\" `id` 'x' \\n *\n둘째 줄"
    smooth = models(prepared)[1]
    answers = []
    for way in (*desk.ways, "local:"):
        done = cli("run", smooth, "--on", way, "-p", prompt, "--threads", 2, "-n", 4, "--temp", 0, "--json")
        answer = json.loads(done.stdout)
        answers.append((answer["text"], answer["timings"]["prompt_tokens"]))
    *there, here = answers
    assert len(set(there)) == 1
    assert there[0][1] == here[1]
    shorter = json.loads(cli("run", smooth, "--on", "local:", "-p", "x", "-n", 4, "--threads", 2, "--json").stdout)
    assert here[1] > shorter["timings"]["prompt_tokens"]


def test_evaluate_here_there_and_emulated(cli: Cli, desk: Desk, tmp_path: Path) -> None:
    """One tiny model three ways: the reference is the same, and no two ways write the same file."""
    exact, q8 = write_llama(tmp_path / "f32.gguf"), write_llama(tmp_path / "q8.gguf", Q8_0)
    text, quality = tmp_path / "text.txt", tmp_path / "quality"
    text.write_text("".join(f"pack my box with {chr(97 + n % 26) * 4} dozen liquor jugs. " for n in range(20)))
    arguments = ("evaluate", exact, q8, "--text", text, "--context", 64, "--chunks", 3, "-o", quality, "--json")
    ways = ((), ("--kernel", "ggml"), ("--kernel", "kleidiai"), ("--on", desk.ways[0]))
    found = [json.loads(cli(*arguments, *way).stdout) for way in ways]
    assert len({one["models"][0]["perplexity"]["value"] for one in found}) == 1
    for one in found:
        assert 1e-5 < one["models"][1]["mean_kld"]["value"] < 1e-2
    phone = desk.facts["model"] + (" (emulated)" if desk.facts["emulated"] else "")
    assert [one["kernels"].partition(",")[0] for one in found] == ["host-native", "ggml", "kleidiai", phone]
    assert len(list(quality.glob("quality-*.json"))) == 4
    assert "(reference: host-native" in (quality / f"quality-{found[3]['id']}.md").read_text()
    wrong = cli("evaluate", exact, q8, "--text", text, "--kernel", "blas", status=2)
    assert "no kernels are called blas. There are ggml, kleidiai" in wrong.stderr


def test_ctrl_c_leaves_whole_results_and_the_next_call_goes_on(
    cli: Cli, prepared: Path, desk: Desk, tmp_path: Path
) -> None:
    arguments = ["bench", *map(str, models(prepared)), "--on", desk.ways[0], *SMALL]
    arguments += ["-o", str(tmp_path)]
    # Started in the background, a shell's child ignores SIGINT, and so would ours.
    command = ["env", "--default-signal=INT", str(SMOOTHDROID), *arguments]

    def recorded() -> bool:
        return any(path.read_text().endswith("\n") for path in tmp_path.glob("*/runs.jsonl"))

    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        eventually(lambda: recorded() or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=GIVE_UP_S)
    assert process.returncode == 130, errors
    assert b"Traceback" not in errors
    (record,) = tmp_path.glob("*/runs.jsonl")
    done = [json.loads(line) for line in record.read_text().splitlines()]
    assert 1 <= len(done) < 4
    target = open_target(desk.ways[0])
    assert target.run(["pgrep", "-f", "[l]lama-bench"], check=False).stdout.strip() == ""
    rest = json.loads(cli(*arguments, "--json").stdout)
    assert (len(rest["runs"]), rest["reused"]) == (4 - len(done), len(done))


def test_devices_shows_the_phone(cli: Cli, desk_phone: VirtualPhone) -> None:
    cli("devices", "--on", f"virtual:{desk_phone.name}", status=0)
    # Whatever else is attached to this machine, and may not answer.
    phones = {phone["target"]: phone for phone in json.loads(cli("devices", "--json", status=None).stdout)}
    phone = phones[f"virtual:{desk_phone.name}"]
    assert (phone["model"], phone["emulated"], phone["cpu_count"]) == ("Google Pixel 8", True, 9)
    assert [len(cluster["cpus"]) for cluster in phone["clusters"]] == [1, 4, 4]
