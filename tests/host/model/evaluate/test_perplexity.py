from __future__ import annotations

from pathlib import Path

import pytest

from smoothdroid.device.common.errors import BadInput, CommandFailed
from smoothdroid.host.llamacpp.tool_output import NoNumber
from smoothdroid.host.model.evaluate.perplexity import HostKernels, PerplexityTask
from smoothdroid.host.model.evaluate.perplexity_output import MOST_RUNS
from tests.processes import is_alive
from tests.waiting import eventually


def kernels(folder: Path, script: str) -> HostKernels:
    """A llama-perplexity that is `script`."""
    binary = folder / "llama-perplexity"
    binary.write_text(f"#!/bin/sh\n{script}\n")
    binary.chmod(0o755)
    return HostKernels("fake", "fake", binary)


@pytest.fixture
def task(tmp_path: Path) -> PerplexityTask:
    return PerplexityTask(tmp_path / "a text; rm -rf", "prose.txt", context=64, windows=3, vocabulary=288)


def test_asks_tells_and_returns(tmp_path: Path, task: PerplexityTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_ARG_CACHE_TYPE_K", "q4_0")
    tool = kernels(
        tmp_path,
        f"printf '%s\\n' \"$@\" > {tmp_path}/argv; env > {tmp_path}/env\n"
        "echo 'calculating perplexity over 3 chunks' >&2\n"
        "for n in 1 2 3; do printf '[%s]9.5,' $n; done",
    )
    reports: list[tuple[int, int]] = []
    model, destination = tmp_path / "a model.gguf", tmp_path / "out"
    assert tool.save_logits(model, task, destination, lambda *done: reports.append(done)) == (3, 9.5)
    assert (tmp_path / "argv").read_text().splitlines() == [
        *("--model", str(model), "--file", str(task.text)),
        *("--ctx-size", "64", "--chunks", "3", "--batch-size", "64", "--kl-divergence-base", str(destination)),
    ]
    assert "LLAMA_" not in (tmp_path / "env").read_text()
    assert reports[-1] == (3, 3)
    assert reports == sorted(reports)


@pytest.mark.fault(
    "a text is too short for the windows that are asked for",
    transport="workstation",
    outcome="it is refused at once, with the number of tokens or windows that are missing",
)
def test_a_text_that_fills_fewer_windows_is_not_waited_for(tmp_path: Path, task: PerplexityTask) -> None:
    script = "echo 'calculating perplexity over 2 chunks' >&2; exec sleep 3600"
    tool = kernels(tmp_path, f"echo $$ >{tmp_path}/pid; {script}")
    with pytest.raises(BadInput, match=r"prose\.txt: the text fills 2 windows, and 3 windows of 64 .*\(192 tokens\)"):
        tool.save_logits(tmp_path / "m", task, tmp_path / "out")
    eventually(lambda: not is_alive(int((tmp_path / "pid").read_text())))


@pytest.mark.fault(
    "llama-perplexity fails",
    transport="workstation",
    outcome="the line of its log that names the cause is shown",
)
def test_a_failure_shows_its_last_words(tmp_path: Path, task: PerplexityTask) -> None:
    tool = kernels(tmp_path, "echo 'llama_perplexity: unable to load model' >&2; exit 1")
    with pytest.raises(CommandFailed, match=r"ended with status 1: llama_perplexity: unable to load model"):
        tool.save_logits(tmp_path / "m", task, tmp_path / "out")


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_run_that_told_nothing_is_made_again(tmp_path: Path, task: PerplexityTask, lost: int) -> None:
    """What llama.cpp logs at its end is lost now and then; of a tiny model that is all of it."""
    runs = tmp_path / "runs"
    tool = kernels(tmp_path, f"echo run >>{runs}; [ $(wc -l <{runs}) -le {lost} ] || printf '[1]9.5,'")
    if lost < MOST_RUNS:
        assert tool.save_logits(tmp_path / "m", task, tmp_path / "out") == (1, 9.5)
    else:
        with pytest.raises(NoNumber, match=r"reported no perplexity; its output ends: \(empty\)"):
            tool.save_logits(tmp_path / "m", task, tmp_path / "out")
    assert len(runs.read_text().splitlines()) == min(lost + 1, MOST_RUNS)


def test_an_interruption_ends_it(tmp_path: Path, task: PerplexityTask) -> None:
    tool = kernels(tmp_path, f"echo $$ >{tmp_path}/pid; printf '[1]9.5,'; exec sleep 3600")

    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tool.save_logits(tmp_path / "m", task, tmp_path / "out", interrupt)
    eventually(lambda: not is_alive(int((tmp_path / "pid").read_text())))
