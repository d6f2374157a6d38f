"""Emulated kernels: a GGUF run in torch, with the arithmetic of kernels that this machine lacks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.arithmetic import Arithmetic
from smoothdroid.host.model.evaluate.gguf_network import predict
from smoothdroid.host.model.evaluate.gguf_weights import GgufWeights
from smoothdroid.host.model.evaluate.logits import save_logits
from smoothdroid.host.model.evaluate.perplexity import OnWindow, PerplexityTask


@dataclass(frozen=True)
class EmulatedKernels:
    """Kernels in torch, for candidates only: the text's tokens are those that llama.cpp cut for the reference."""

    arithmetic: Arithmetic

    @property
    def name(self) -> str:
        """The kernels' name, for people."""
        return f"{self.arithmetic.name}, emulated"

    @property
    def id(self) -> str:
        """The identity of the kernels: equal ids compute equal log-probabilities, to rounding."""
        return f"{self.name}, torch {torch.__version__}"

    def save_logits(
        self, gguf: Path, task: PerplexityTask, destination: Path, on_window: OnWindow | None = None
    ) -> tuple[int, float]:
        """Write the log-probabilities, as InferenceKernels.save_logits. Raises BadInput where it is not emulated.

        `on_window` gets layers too: all windows go through one layer before the next is read.
        """
        if task.tokens is None:
            raise ValueError("the reference's tokens are not known")
        weights = GgufWeights(gguf)
        if (rows := weights.length("token_embd.weight")) != task.vocabulary:
            raise BadInput(f"{gguf}: its embedding has {rows} rows, and its vocabulary {task.vocabulary} tokens.")
        read = torch.from_numpy(task.tokens.astype("int64"))
        # llama-perplexity lets every window begin with the BOS where the tokenizer puts one before a text.
        if (bos := weights.bos) is not None and bos == task.tokens[0, 0]:
            read[:, 0] = bos
        with torch.inference_mode():
            logits = predict(weights, read, self.arithmetic, first=task.context // 2, on_step=on_window)
            arrays = (window.numpy() for window in logits)
            return task.windows, save_logits(destination, task.tokens, task.vocabulary, arrays)
