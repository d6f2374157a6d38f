"""The log-probabilities that llama-perplexity saves, and the divergence of two such files, token by token.

Other code that computes a model saves it in the same format, with the same rounding: `save_logits`.

llama-perplexity prints the running mean of the KLD with five decimals and nothing per token: the mean of one window
cannot be had from it. So each model's log-probabilities are saved (`--kl-divergence-base FILE`), and compared here.

The format, little-endian (tools/perplexity/perplexity.cpp, `perplexity` and the `log_softmax` that takes a uint16_t*):

    "_logits_", uint32 tokens a window (n_ctx), int32 vocabulary (n_vocab), int32 windows (n_chunk)
    int32 tokens[windows][n_ctx]
    row[windows][n_ctx - 1 - n_ctx/2], a row being
        float32 scale, float32 smallest, uint16 steps[n_vocab], padded to an even number

A log-probability is `smallest + scale * step`. Row r of a window predicts its token n_ctx/2 + r + 1: the first half
of a window is context only. What lies more than 16 nats below the likeliest token is stored as 16 below it, so a
step is at most 16/65535 = 0.00024 nats. That rounding goes either way and is the only error here: about 0.0001 nats
in the KLD of one token, 0.000002 in the mean over 16 windows of 512.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from smoothdroid.device.common.errors import SmoothdroidError

Floats = NDArray[np.float64]

HEADER = struct.Struct("<8sIii")
MAGIC = b"_logits_"
ROW_HEAD = 4  # in uint16: the two float32 before the steps

# Below it llama-perplexity leaves a token of the reference out of the sum: its probability is 1e-7.
SMALLEST_LOG_PROBABILITY = -16.0

STEPS = 65535  # between the smallest log-probability of a row and its largest

# At a time: with a vocabulary of 128,000 a block is 8 MB in float32, and there are some five of them.
ROWS_AT_ONCE = 16


@dataclass(frozen=True)
class SavedLogits:
    """A finished file of log-probabilities; its rows stay on the disk until they are read."""

    path: Path
    tokens: NDArray[np.int32]
    """The tokens of the text, [windows, tokens a window]."""
    vocabulary: int
    rows: NDArray[np.uint16]
    """The rows as they are stored, [windows, predicted tokens, 4 + vocabulary (+ 1)]."""


@dataclass(frozen=True)
class Divergence:
    """The divergence of a candidate from the reference; every array is [windows, predicted tokens]."""

    kld: Floats
    """KL divergence of the candidate from the reference, nats."""
    nll: Floats
    """The candidate's negative log-likelihood of the token that came, nats."""
    same_top: NDArray[np.bool_]
    """True where both models hold the same token to be the likeliest."""


def predicted_tokens(context: int) -> int:
    """Return the number of tokens that are predicted of a window of `context` tokens."""
    return context - 1 - context // 2


def file_bytes(*, context: int, windows: int, vocabulary: int) -> int:
    """Return the size of such a file in bytes."""
    rows = windows * predicted_tokens(context)
    return HEADER.size + windows * context * 4 + rows * _row_width(vocabulary) * 2


def open_logits(path: Path) -> SavedLogits:
    """Open a file of log-probabilities. Raises SmoothdroidError when it is none, or not whole."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEADER.size)
    if len(head) < HEADER.size or not head.startswith(MAGIC):
        raise SmoothdroidError(f"{path} holds no log-probabilities of llama-perplexity")
    _, context, vocabulary, windows = HEADER.unpack(head)
    if min(context, vocabulary, windows) < 1:
        raise SmoothdroidError(f"{path} is damaged: {windows} windows of {context} tokens, vocabulary {vocabulary}")
    wanted = file_bytes(context=context, windows=windows, vocabulary=vocabulary)
    if size != wanted:
        raise SmoothdroidError(f"{path} is not whole: {size} bytes of {wanted}")
    tokens = np.memmap(path, np.dtype("<i4"), "r", HEADER.size, (windows, context))
    shape = (windows, predicted_tokens(context), _row_width(vocabulary))
    rows = np.memmap(path, np.dtype("<u2"), "r", HEADER.size + tokens.nbytes, shape)
    return SavedLogits(path, np.array(tokens), vocabulary, rows)


def save_logits(path: Path, tokens: NDArray[np.int32], vocabulary: int, logits: Iterable[NDArray[np.float32]]) -> float:
    """Write `logits`, one [predicted tokens, vocabulary] for each window, as log-probabilities of `tokens`.

    `tokens`: [windows, tokens a window]. Returns the perplexity, from what was not rounded yet.
    """
    windows, context = tokens.shape
    nlls = []
    with path.open("wb") as file:
        file.write(HEADER.pack(MAGIC, context, vocabulary, windows))
        file.write(tokens.astype("<i4").tobytes())
        for window, predicted in zip(tokens, logits, strict=True):
            came = window[context // 2 + 1 :]
            for start in range(0, len(came), ROWS_AT_ONCE):
                block = predicted[start : start + ROWS_AT_ONCE]
                top = block.max(axis=1, keepdims=True)
                log_sum = np.log(np.exp(block - top).sum(axis=1, keepdims=True, dtype=np.float64))
                file.write(_packed(block, top, log_sum.astype(np.float32)).tobytes())
                of_token = np.take_along_axis(block, came[start : start + ROWS_AT_ONCE, None], axis=1)
                nlls.append((top + log_sum - of_token).ravel())
    return math.exp(np.concatenate(nlls).mean())


def nll(saved: SavedLogits) -> Floats:
    """Return the negative log-likelihood of every predicted token, nats: [windows, predicted tokens]."""
    windows, n_rows, _ = saved.rows.shape
    scale, smallest = _heads(saved.rows)
    came = _predicted(saved)
    at = (np.arange(windows)[:, None], np.arange(n_rows)[None, :], ROW_HEAD + came)
    return -np.asarray(saved.rows[at] * scale.astype(np.float64) + smallest, np.float64)


def compare(
    reference: SavedLogits, candidate: SavedLogits, on_window: Callable[[int, int], None] | None = None
) -> Divergence:
    """Compare the candidate with the reference, token by token, as llama-perplexity's `--kl-divergence` does.

    Both must be over the same tokens (ValueError). `on_window` gets (windows done, windows in all).
    """
    if reference.vocabulary != candidate.vocabulary or not np.array_equal(reference.tokens, candidate.tokens):
        raise ValueError("not over the same tokens")
    windows, n_rows, _ = reference.rows.shape
    kld = np.empty((windows, n_rows))
    same_top = np.empty((windows, n_rows), np.bool_)
    for window in range(windows):
        for start in range(0, n_rows, ROWS_AT_ONCE):
            block = slice(start, start + ROWS_AT_ONCE)
            row_p, row_q = reference.rows[window, block], candidate.rows[window, block]
            same_top[window, block] = _steps(row_p, reference).argmax(axis=1) == _steps(row_q, candidate).argmax(axis=1)
            log_p = _log_probabilities(row_p, reference)
            p = np.exp(log_p)
            p[log_p <= SMALLEST_LOG_PROBABILITY] = 0
            p *= log_p - _log_probabilities(row_q, candidate)
            kld[window, block] = p.sum(axis=1, dtype=np.float64)
        if on_window:
            on_window(window + 1, windows)
    return Divergence(kld=kld, nll=nll(candidate), same_top=same_top)


def _packed(logits: NDArray[np.float32], top: NDArray[np.float32], log_sum: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return rows of the file from rows of logits. Values that are not finite become 0; the perplexity shows them."""
    least = np.maximum(logits.min(axis=1, keepdims=True), top + np.float32(SMALLEST_LOG_PROBABILITY))
    scale = (top - least) / np.float32(STEPS)
    rows = np.zeros((len(logits), _row_width(logits.shape[1])), np.dtype("<u2"))
    rows[:, :ROW_HEAD] = np.hstack([scale, least - top - log_sum]).astype("<f4").view("<u2")
    steps = np.rint(np.maximum(logits - least, 0) / np.where(scale > 0, scale, 1))
    rows[:, ROW_HEAD : ROW_HEAD + logits.shape[1]] = np.nan_to_num(steps, posinf=0)
    return rows


def _row_width(vocabulary: int) -> int:
    return 2 * ((vocabulary + 1) // 2) + ROW_HEAD


def _predicted(saved: SavedLogits) -> NDArray[np.int32]:
    """Return the tokens that the rows predict: [windows, predicted tokens]."""
    return saved.tokens[:, saved.tokens.shape[1] // 2 + 1 :]


def _heads(rows: NDArray[np.uint16]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (scale, smallest log-probability) of rows [..., width]."""
    heads = np.ascontiguousarray(rows[..., :ROW_HEAD]).view(np.dtype("<f4"))
    return heads[..., 0], heads[..., 1]


def _steps(rows: NDArray[np.uint16], saved: SavedLogits) -> NDArray[np.uint16]:
    return rows[:, ROW_HEAD : ROW_HEAD + saved.vocabulary]


def _log_probabilities(rows: NDArray[np.uint16], saved: SavedLogits) -> NDArray[np.float32]:
    """Return log-probabilities [rows, vocabulary], nats."""
    scale, smallest = _heads(rows)
    return _steps(rows, saved).astype(np.float32) * scale[:, None] + smallest[:, None]
