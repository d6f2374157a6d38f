from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smoothdroid.device.common.errors import SmoothdroidError
from smoothdroid.host.model.evaluate.logits import compare, file_bytes, nll, open_logits, save_logits
from tests.host.saved_logits import save


def log_softmax(logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


@pytest.mark.parametrize("vocabulary", [40, 41])
@pytest.mark.parametrize("context", [16, 81])
def test_against_the_definitions(tmp_path: Path, vocabulary: int, context: int) -> None:
    random = np.random.default_rng(0)
    windows, n_rows = 3, context - 1 - context // 2
    tokens = random.integers(0, vocabulary, (windows, context))
    reference = random.normal(0, 2, (windows, n_rows, vocabulary))
    candidate = reference + random.normal(0, 0.3, reference.shape)
    save(tmp_path / "p", tokens, reference)
    save(tmp_path / "q", tokens, candidate)
    assert (tmp_path / "p").stat().st_size == file_bytes(context=context, windows=windows, vocabulary=vocabulary)

    reports: list[tuple[int, int]] = []
    found = compare(open_logits(tmp_path / "p"), open_logits(tmp_path / "q"), lambda *done: reports.append(done))
    log_p, log_q = log_softmax(reference), log_softmax(candidate)
    assert found.kld == pytest.approx((np.exp(log_p) * (log_p - log_q)).sum(axis=-1), abs=5e-4)
    assert np.array_equal(found.same_top, log_p.argmax(axis=-1) == log_q.argmax(axis=-1))
    came = tokens[:, context // 2 + 1 :]
    assert found.nll == pytest.approx(-np.take_along_axis(log_q, came[..., None], -1)[..., 0], abs=5e-4)
    assert nll(open_logits(tmp_path / "q")) == pytest.approx(found.nll)
    assert reports == [(1, 3), (2, 3), (3, 3)]


def test_what_the_reference_holds_to_be_impossible_does_not_count(tmp_path: Path) -> None:
    tokens = np.zeros((1, 16), np.int32)
    reference, candidate = np.zeros((1, 7, 4)), np.zeros((1, 7, 4))
    reference[..., 1] = -40  # stored as 16 below the likeliest, which is below exp(-16) as a probability
    candidate[..., 1] = -2
    save(tmp_path / "p", tokens, reference)
    save(tmp_path / "q", tokens, candidate)
    found = compare(open_logits(tmp_path / "p"), open_logits(tmp_path / "q"))
    p, q = np.log(1 / 3), -np.log(3 + np.exp(-2))
    assert found.kld == pytest.approx(np.full((1, 7), p - q), abs=1e-4)


@pytest.mark.parametrize("vocabulary", [40, 41])
def test_what_is_saved_here_is_what_llama_perplexity_saves(tmp_path: Path, vocabulary: int) -> None:
    random = np.random.default_rng(0)
    tokens = random.integers(1, vocabulary, (2, 81)).astype(np.int32)
    logits = random.normal(0, 2, (2, 40, vocabulary)).astype(np.float32)
    logits[0, 3] = 1.5
    logits[1, 5, 0] = -60  # beyond what the format holds
    save(tmp_path / "theirs", tokens, logits)
    perplexity = save_logits(tmp_path / "ours", tokens, vocabulary, iter(logits))
    ours, theirs = open_logits(tmp_path / "ours"), open_logits(tmp_path / "theirs")
    assert np.array_equal(ours.tokens, theirs.tokens)
    assert np.abs(ours.rows[..., 4:].astype(int) - theirs.rows[..., 4:]).max() <= 1  # the one rounds in float64
    assert compare(ours, theirs).kld == pytest.approx(0, abs=1e-3)
    assert nll(ours) == pytest.approx(nll(theirs), abs=3e-4)
    assert np.log(perplexity) == pytest.approx(nll(theirs).mean(), abs=1e-4)


def test_logits_that_are_not_finite_have_no_perplexity(tmp_path: Path) -> None:
    logits = np.ones((1, 7, 10), np.float32)
    logits[0, 2, 3] = np.nan
    assert np.isnan(save_logits(tmp_path / "p", np.zeros((1, 16), np.int32), 10, iter(logits)))


def test_equal_logits_have_no_scale(tmp_path: Path) -> None:
    save(tmp_path / "p", np.zeros((2, 16), np.int32), np.ones((2, 7, 10)))
    assert nll(open_logits(tmp_path / "p")) == pytest.approx(np.full((2, 7), np.log(10)))


def test_other_tokens_cannot_be_compared(tmp_path: Path) -> None:
    for name, token in (("p", 0), ("q", 1)):
        save(tmp_path / name, np.full((1, 16), token), np.ones((1, 7, 4)))
    with pytest.raises(ValueError, match="same tokens"):
        compare(open_logits(tmp_path / "p"), open_logits(tmp_path / "q"))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda whole: b"", "holds no log-probabilities"),
        (lambda whole: whole[:15], "holds no log-probabilities"),
        (lambda whole: b"x" + whole[1:], "holds no log-probabilities"),
        (lambda whole: whole[:-2], "not whole: 278 bytes of 280"),
        (lambda whole: whole + b"\0\0", "not whole"),
        (lambda whole: whole[:16] + struct.pack("<i", -1) + whole[20:], "damaged: -1 windows"),
        (lambda whole: whole[:12] + struct.pack("<i", 2**31 - 1) + whole[16:], "not whole"),
    ],
)
def test_what_is_not_whole_is_refused(tmp_path: Path, damage: Any, says: str) -> None:
    path = tmp_path / "p"
    save(path, np.zeros((1, 16), np.int32), np.ones((1, 7, 9)))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(SmoothdroidError, match=says):
        open_logits(path)
