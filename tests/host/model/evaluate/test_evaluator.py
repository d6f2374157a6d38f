from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from smoothdroid.device.common.errors import BadInput, SmoothdroidError
from smoothdroid.host.gguf import artifact
from smoothdroid.host.gguf.artifact import Artifact
from smoothdroid.host.llamacpp import compile as compiler
from smoothdroid.host.llamacpp import source, variants
from smoothdroid.host.llamacpp.tool_output import NoNumber
from smoothdroid.host.model.evaluate import logits_cache as module
from smoothdroid.host.model.evaluate.evaluator import evaluate
from smoothdroid.host.model.evaluate.logits import compare, file_bytes, nll, open_logits
from smoothdroid.host.model.evaluate.perplexity import HostKernels, OnWindow, PerplexityTask
from smoothdroid.host.model.evaluate.record import Evaluation, write_evaluation
from smoothdroid.host.model.texts.prose import Prose
from tests.host.saved_logits import save
from tests.host.tiny_gguf import LETTERS, Q8_0, write_llama

VOCABULARY = 288  # of the tiny model
SIZES: dict[str, Any] = {"context": 64, "windows": 5}
TEXT = Prose("prose.txt", "".join(f"pack my box with {chr(97 + n % 26) * 4} dozen liquor jugs. " for n in range(60)))


@pytest.fixture(scope="module")
def kernels() -> HostKernels:
    """The real llama-perplexity of this machine."""
    built = compiler.find([variants.find("host", "native")], source.pinned())
    if built is None:
        pytest.fail("these tests run llama-perplexity: `smoothdroid build --abi host`")
    tool = "llama-perplexity"
    return HostKernels(f"host-native, llama.cpp {built.manifest.commit}", built.manifest.tools[tool], built.tool(tool))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """One tiny model as f32, again as f32 under another name, and as Q8_0."""
    folder = tmp_path_factory.mktemp("models")
    paths = [write_llama(folder / "f32.gguf"), write_llama(folder / "twin.gguf"), write_llama(folder / "q8.gguf", Q8_0)]
    return {path.stem: artifact.inspect(path) for path in paths}


def test_the_reference_itself_is_at_no_distance_and_q8_0_at_some(
    kernels: HostKernels, models: dict[str, Artifact], tmp_path: Path
) -> None:
    reports: list[tuple[str, int, int]] = []
    found = evaluate(
        models["f32"],
        [models["twin"], models["q8"]],
        TEXT,
        kernels,
        logits_cache=tmp_path,
        on_progress=lambda *progress: reports.append(progress),
        **SIZES,
    )
    twin, q8 = found.candidates
    assert np.array(twin.kld).shape == (5, 31)
    assert np.abs(twin.kld).max() < 1e-6
    assert np.all(twin.same_top)
    assert twin.nll == found.reference_nll
    assert np.mean(q8.kld) > 1e-5
    assert q8.model.size_bytes == models["q8"].size_bytes < twin.model.size_bytes
    assert q8.model.bits_per_weight < 20 < twin.model.bits_per_weight
    assert (found.text, found.text_sha256, found.kernels_id) == ("prose.txt", TEXT.sha256, kernels.id)
    assert reports[-1] == ("q8: comparing", 5, 5)
    assert ("f32: predicting", 5, 5) in reports

    path = write_evaluation(found, tmp_path / "new" / "folder")
    assert path.name == f"quality-{found.id}.json"
    assert Evaluation.model_validate_json(path.read_bytes()) == found
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_agrees_with_what_llama_perplexity_prints(
    kernels: HostKernels, models: dict[str, Artifact], tmp_path: Path
) -> None:
    """Mean, percentile and top-1 from the two files, against `--kl-divergence` of the real tool."""
    text = tmp_path / "text.txt"
    text.write_text(TEXT.content)
    task = PerplexityTask(text, "text", vocabulary=VOCABULARY, **SIZES)
    for name in ("f32", "q8"):
        kernels.save_logits(models[name].path, task, tmp_path / name)
    ours = compare(open_logits(tmp_path / "f32"), open_logits(tmp_path / "q8"))

    argv = [str(kernels.binary), "-m", str(models["q8"].path), "-f", str(text), "-c", "64", "-b", "64", "--chunks", "5"]
    argv += ["--kl-divergence-base", str(tmp_path / "f32"), "--kl-divergence"]
    output = ""
    for _ in range(5):  # on a busy machine it now and then loses its last lines (common/log.cpp)
        # Its threads write into each other's characters.
        output = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=True).stdout
        if "Same top p" in output:
            break

    def printed(label: str) -> float:
        (value,) = re.findall(rf"{label}\s*:\s*([\d.]+)", output)
        return float(value)

    # It prints six decimals, and holds the candidate's unrounded logits against the reference's rounded ones.
    assert ours.kld.mean() == pytest.approx(printed("Mean    KLD"), abs=2e-5)
    assert np.quantile(ours.kld, 0.99) == pytest.approx(printed("99.0%   KLD"), abs=3e-4)
    assert math.exp(ours.nll.mean()) == pytest.approx(printed(r"Mean PPL\(Q\)"), rel=1e-4)
    assert 100 * ours.same_top.mean() == pytest.approx(printed("Same top p"), abs=0.7)  # one token of 155


@pytest.mark.parametrize(
    ("content", "windows", "says"),
    [
        ("a fox", 2, r"short\.txt: the text has \d tokens, and 2 windows of 64 tokens \(128 tokens\)"),
        ("the lazy dog. " * 16, 9, r"short\.txt: the text fills 3 windows, and 9 windows of 64 .*\(576 tokens\)"),
    ],
)
def test_a_short_text_is_told_how_short(
    kernels: HostKernels, models: dict[str, Artifact], tmp_path: Path, content: str, windows: int, says: str
) -> None:
    with pytest.raises(BadInput, match=says):
        evaluate(
            models["f32"],
            [models["q8"]],
            Prose("short.txt", content),
            kernels,
            logits_cache=tmp_path,
            context=64,
            windows=windows,
        )
    assert list(tmp_path.iterdir()) == [], "nothing half written stays"


def test_a_model_whose_logits_are_not_finite(kernels: HostKernels, models: dict[str, Artifact], tmp_path: Path) -> None:
    broken = artifact.inspect(write_llama(tmp_path / "broken.gguf", broken=True))
    with pytest.raises(SmoothdroidError, match=r"broken\.gguf"):
        evaluate(models["f32"], [broken], TEXT, kernels, logits_cache=tmp_path / "cache", **SIZES)
    assert [file.suffix for file in (tmp_path / "cache").iterdir()] == [".logits"], "the reference is kept"


class FakeKernels:
    """Random log-probabilities, seeded by the model's name."""

    name, id = "fake", "fake"

    def __init__(self, *, tokens: int = 0, lies: float = 0.0) -> None:
        """`tokens`: another way of cutting the text. `lies`: added to the printed perplexity."""
        self.ran: list[str] = []
        self.tokens, self.lies = tokens, lies

    def save_logits(
        self, gguf: Path, task: PerplexityTask, destination: Path, on_window: OnWindow | None = None
    ) -> tuple[int, float]:
        self.ran.append(gguf.stem)
        assert task.text.read_text() == TEXT.content
        random = np.random.default_rng(len(gguf.stem))
        logits = random.normal(size=(task.windows, task.context - 1 - task.context // 2, VOCABULARY))
        shift = self.tokens * (gguf.stem != "f32")
        tokens = (np.arange(task.windows * task.context).reshape(task.windows, task.context) + shift) % VOCABULARY
        save(destination, tokens, logits)
        return 3, self.printed(destination) + self.lies

    def printed(self, destination: Path) -> float:
        return math.exp(float(nll(open_logits(destination))[:3].mean()))


Evaluate = Callable[..., Evaluation]


@pytest.fixture
def run(models: dict[str, Artifact], tmp_path: Path) -> Evaluate:
    def run_(kernels: FakeKernels, *names: str, **settings: Any) -> Evaluation:
        chosen = [models[name] for name in names or ("f32", "q8")]
        settings = {**SIZES, "logits_cache": tmp_path / "cache", **settings}
        return evaluate(chosen[0], chosen[1:], TEXT, kernels, **settings)

    return run_


def test_the_reference_is_run_once(run: Evaluate, tmp_path: Path) -> None:
    kernels = FakeKernels()
    first = run(kernels)
    steps: list[str] = []
    assert run(kernels, on_step=steps.append) == first
    assert kernels.ran == ["f32", "q8", "q8"]
    assert "f32: log-probabilities are cached" in steps
    (cached,) = (tmp_path / "cache").iterdir()
    assert cached.stat().st_size == file_bytes(context=64, windows=5, vocabulary=VOCABULARY)

    run(kernels, context=32)
    other = FakeKernels()
    other.id = "another binary"
    run(other)
    assert other.ran == ["f32", "q8"]
    assert len(list((tmp_path / "cache").iterdir())) == 3

    cached.write_bytes(cached.read_bytes()[:-1])
    assert run(kernels) == first, "a damaged one is made again"
    assert kernels.ran[-2:] == ["f32", "q8"]


def test_an_interruption_leaves_nothing_half(run: Evaluate, tmp_path: Path) -> None:
    class Interrupted(FakeKernels):
        def printed(self, destination: Path) -> float:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Interrupted())
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_model_whose_perplexity_nobody_told_is_named(run: Evaluate) -> None:
    class Silent(FakeKernels):
        def printed(self, destination: Path) -> float:
            raise NoNumber("its last words: none")

    with pytest.raises(SmoothdroidError, match="its perplexity is not known: its last words: none"):
        run(Silent())


def test_what_was_used_longest_ago_makes_room(run: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels, cache = FakeKernels(), tmp_path / "cache"
    for context in (32, 48):
        run(kernels, context=context)
    files = {open_logits(path).tokens.shape[1]: path for path in cache.iterdir()}
    os.utime(files[32], (1, 1))
    os.utime(files[48], (2, 2))
    run(kernels, context=32)  # used again: now 48 is the older one
    monkeypatch.setattr(module, "CACHE_LIMIT_BYTES", 150_000)
    run(kernels, context=64)
    assert files[32].exists()
    assert not files[48].exists()


def test_a_full_disk_is_told_before_anything_runs(
    run: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=10))
    kernels = FakeKernels()
    with pytest.raises(BadInput, match=r"0\.00 GB are free.*--chunks.*SMOOTHDROID_CACHE"):
        run(kernels)
    assert kernels.ran == []


def test_saved_figures_that_are_not_the_printed_ones(run: Evaluate) -> None:
    with pytest.raises(SmoothdroidError, match=r"f32\.gguf: its saved log-probabilities give the perplexity"):
        run(FakeKernels(lies=1.0))


def test_a_text_cut_into_other_tokens(run: Evaluate) -> None:
    with pytest.raises(BadInput, match=r"q8\.gguf: it cuts the text into other tokens than f32\.gguf"):
        run(FakeKernels(tokens=1))


@pytest.mark.parametrize(
    ("letters", "says"),
    [
        (LETTERS[:-1], r"vocabulary of 287 tokens and .*one of 288: .*one vocabulary"),
        (LETTERS[:-1] + ";", "have different tokens"),
    ],
)
def test_another_vocabulary_is_bad_input_before_anything_runs(
    models: dict[str, Artifact], tmp_path: Path, letters: str, says: str
) -> None:
    other = artifact.inspect(write_llama(tmp_path / "other.gguf", letters=letters))
    kernels = FakeKernels()
    with pytest.raises(BadInput, match=says):
        evaluate(models["f32"], [other], TEXT, kernels, logits_cache=tmp_path, **SIZES)
    assert kernels.ran == []


@pytest.mark.parametrize(
    ("names", "setting", "says"),
    [
        (("f32",), {}, "no candidate"),
        (("f32", "q8", "q8"), {}, "Two candidates are called q8"),
        (("f32", "q8"), {"context": 15}, "at least 16"),
        (("f32", "q8"), {"context": 257}, "f32 takes at most 256"),
        (("f32", "q8"), {"windows": 1}, "at least 2"),
    ],
)
def test_wrong_settings(run: Evaluate, names: tuple[str, ...], setting: dict[str, int], says: str) -> None:
    kernels = FakeKernels()
    with pytest.raises(BadInput, match=says):
        run(kernels, *names, **setting)
    assert kernels.ran == []


@pytest.mark.parametrize("content", [b"", b"GGUF", b"no model at all, but long enough to be one" * 9, None])
def test_what_is_no_model(models: dict[str, Artifact], tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.gguf"
    if content is not None:
        path.write_bytes(content)
    odd = models["q8"].model_copy(update={"path": path})
    with pytest.raises(BadInput, match=r"x\.gguf"):
        evaluate(models["f32"], [odd], TEXT, FakeKernels(), logits_cache=tmp_path / "cache", **SIZES)


def test_needs_no_torch() -> None:
    modules = "smoothdroid.host.model.evaluate.evaluator, smoothdroid.host.report.data.quality"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
