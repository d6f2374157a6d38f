"""A file of log-probabilities as llama-perplexity saves them, of whatever logits a test wants."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

NEGLIGIBLE = 16.0
STEPS = 65535


def save(path: Path, tokens: np.ndarray[Any, Any], logits: np.ndarray[Any, Any]) -> None:
    """Write `logits` [windows, predicted tokens, vocabulary] as perplexity.cpp's log_softmax does."""
    windows, context = tokens.shape
    vocabulary = logits.shape[-1]
    with path.open("wb") as file:
        file.write(struct.pack("<8sIii", b"_logits_", context, vocabulary, windows))
        file.write(tokens.astype("<i4").tobytes())
        for row in logits.reshape(-1, vocabulary):
            least = max(row.min(), row.max() - NEGLIGIBLE)
            scale = (row.max() - least) / STEPS
            log_sum = np.log(np.exp(row - row.max()).sum())
            steps = np.rint(np.maximum(row - least, 0) / (scale or 1)).astype("<u2")
            file.write(struct.pack("<ff", scale, least - row.max() - log_sum) + steps.tobytes())
            file.write(b"\0\0" * (vocabulary % 2))
