from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from smoothdroid.device.common.errors import BadInput, CommandFailed, SmoothdroidError
from smoothdroid.device.info.phone import describe
from smoothdroid.device.transport.local import LocalTarget
from smoothdroid.device.transport.resolve import open_target
from smoothdroid.device.transport.target import Completed, Target
from smoothdroid.device.virtual import VirtualPhone
from smoothdroid.host.llamacpp import compile as compiler
from smoothdroid.host.llamacpp import source, variants
from smoothdroid.host.llamacpp.compile import Build
from smoothdroid.host.model.evaluate.logits import compare, open_logits
from smoothdroid.host.model.evaluate.perplexity import HostKernels, PerplexityTask
from smoothdroid.host.model.evaluate.phone_kernels import PhoneKernels
from tests.host.fakes import ReplayTarget
from tests.host.tiny_gguf import VOCABULARY, write_llama

TEXT = "".join(f"pack my box with {chr(97 + n % 26) * 4} dozen liquor jugs. " for n in range(20))
TOOL = "llama-perplexity"


def built(wanted: Sequence[variants.Variant], how: str) -> Build:
    found = compiler.find(wanted, source.pinned())
    if found is None or TOOL not in found.manifest.tools:
        pytest.fail(f"these tests run llama-perplexity: `smoothdroid build {how}`")
    return found


@pytest.fixture(scope="module")
def here() -> Build:
    return built([variants.find("host", "native")], "--abi host")


@pytest.fixture
def task(tmp_path: Path) -> PerplexityTask:
    text = tmp_path / "a text; rm -rf"
    text.write_text(TEXT)
    return PerplexityTask(text, "text", context=64, windows=3, vocabulary=VOCABULARY)


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    return write_llama(tmp_path / "a model.gguf")


def kernels(build: Build, target: Target) -> PhoneKernels:
    return PhoneKernels("a phone", build.manifest.tools[TOOL], build.tool(TOOL), target)


def left(target: Target) -> list[str]:
    """What lies below the target's root, by name, without the store's own notes."""
    found = target.run(["find", target.root, "-type", "f", "!", "-name", ".*"]).stdout.splitlines()
    return sorted(Path(path).name for path in found)


def test_a_phone_with_this_machines_kernels_predicts_as_this_machine(
    here: Build, task: PerplexityTask, gguf: Path, tmp_path: Path
) -> None:
    target = ReplayTarget(tmp_path / "phone", lambda argv: LocalTarget().run(argv))
    reports: list[tuple[int, int]] = []
    windows, perplexity = kernels(here, target).save_logits(
        gguf, task, tmp_path / "theirs", lambda *done: reports.append(done)
    )
    host = HostKernels("host", "host", here.tool(TOOL))
    assert host.save_logits(gguf, task, tmp_path / "ours")[1] == pytest.approx(perplexity, rel=0.2)  # 2 windows or 3
    assert 1 <= windows <= 3
    assert reports[-1][1] == 3
    assert np.abs(compare(open_logits(tmp_path / "ours"), open_logits(tmp_path / "theirs")).kld).max() < 1e-5
    assert left(target) == ["a model.gguf", TOOL]
    target.pushed.clear()
    kernels(here, target).save_logits(gguf, task, tmp_path / "again")
    assert target.pushed == [task.text.name]


@pytest.mark.parametrize("way", ["", "/ssh"])
def test_the_emulated_phone(
    way: str, phone: VirtualPhone, here: Build, task: PerplexityTask, gguf: Path, tmp_path: Path
) -> None:
    """Real adbd and sshd, the arm64 binary: in float32 nothing is left but the order of sums."""
    target = open_target(f"virtual:{phone.name}{way}")
    try:
        known = describe(target)
        there = built(variants.runnable(known.abi, known.features), "--abi arm64-v8a")
        kernels(there, target).save_logits(gguf, task, tmp_path / "theirs")
        HostKernels("host", "host", here.tool(TOOL)).save_logits(gguf, task, tmp_path / "ours")
        found = compare(open_logits(tmp_path / "ours"), open_logits(tmp_path / "theirs"))
        assert np.abs(found.kld).max() < 2e-5
        assert "logits" not in left(target)
    finally:
        target.close()


Answer = Callable[[Sequence[str]], Completed]


def saves(content: bytes, status: int = 0) -> Answer:
    """A llama-perplexity that leaves `content`."""

    def answer(argv: Sequence[str]) -> Completed:
        Path(argv[argv.index("--kl-divergence-base") + 1]).write_bytes(content)
        return Completed(status, "[1]9.5,[2]9.6,[3]9.7,", "it said no")

    return answer


def test_what_a_full_phone_left_is_not_pulled(here: Build, task: PerplexityTask, gguf: Path, tmp_path: Path) -> None:
    target = ReplayTarget(tmp_path / "phone", saves(b"_logits_"))
    with pytest.raises(
        SmoothdroidError, match=rf"left 8 bytes of .*, and {task.logits_bytes} were expected: is the phone"
    ):
        kernels(here, target).save_logits(gguf, task, tmp_path / "logits")
    assert not (tmp_path / "logits").exists()
    assert left(target) == ["a model.gguf", TOOL]


def test_a_failure_leaves_nothing(here: Build, task: PerplexityTask, gguf: Path, tmp_path: Path) -> None:
    target = ReplayTarget(tmp_path / "phone", saves(b"half", status=137))
    with pytest.raises(CommandFailed, match=r"ended with status 137: it said no"):
        kernels(here, target).save_logits(gguf, task, tmp_path / "logits")
    assert left(target) == ["a model.gguf", TOOL]


def test_no_room_is_told_before_it_runs(here: Build, gguf: Path, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text(TEXT)
    endless = PerplexityTask(text, "text", context=64, windows=1 << 40, vocabulary=VOCABULARY)
    target = ReplayTarget(tmp_path / "phone", saves(b""))
    with pytest.raises(BadInput, match=r"adb:REPLAY has \d+ MiB free where the log-probabilities \(.*--chunks"):
        kernels(here, target).save_logits(gguf, endless, tmp_path / "logits")
    assert target.measured == []


def test_the_tool_is_known_by_its_hash(here: Build) -> None:
    assert kernels(here, LocalTarget()).id == hashlib.sha256(here.tool(TOOL).read_bytes()).hexdigest()
