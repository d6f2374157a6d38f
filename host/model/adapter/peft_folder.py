"""A PEFT LoRA adapter in a folder: its settings, and A and B of each module, checked against the base."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.adapter.peft_config import PeftConfig, read_config
from smoothdroid.host.model.checkpoint.folder import ADAPTER_FILE, Checkpoint
from smoothdroid.host.model.checkpoint.tensor_names import listed
from smoothdroid.host.model.checkpoint.weight_files import TensorInfo, read_safetensors_header
from smoothdroid.host.model.checkpoint.weights import require_finite
from smoothdroid.host.model.smoothquant.architectures import EMBEDDING, HEAD, LAYER, architecture_of

WEIGHTS = "adapter_model.safetensors"
PICKLED = "adapter_model.bin"
PREFIX = "base_model.model."

A, B = "lora_A.weight", "lora_B.weight"

_NAME = re.compile(re.escape(PREFIX) + r"(?P<module>[\w.]+)\.(?P<part>lora_[AB]\.weight)", re.ASCII)


@dataclass(frozen=True)
class LowRank:
    """The addition B A of a module: A [rank, in] and B [out, rank], float32, the adapter's factor within B."""

    a: Tensor
    b: Tensor

    @property
    def parts(self) -> tuple[tuple[str, Tensor], tuple[str, Tensor]]:
        """A and B with the ends of their names."""
        return (A, self.a), (B, self.b)

    @property
    def product(self) -> Tensor:
        """The addition [out, in]."""
        return self.b @ self.a


@dataclass(frozen=True)
class PeftAdapter:
    """A LoRA adapter: an addition to the weight of each of its modules, by the modules' names in the checkpoint."""

    folder: Path
    config: PeftConfig
    modules: Mapping[str, LowRank]

    @property
    def files(self) -> tuple[Path, Path]:
        """The files that decide the adapter."""
        return self.folder / ADAPTER_FILE, self.folder / WEIGHTS


def open_adapter(folder: Path, base: Checkpoint) -> PeftAdapter:
    """Read the adapter in `folder` and check that it belongs to `base`.

    Raises BadInput where it is no LoRA adapter in safetensors, is damaged, needs what is not supported, or has other
    modules or shapes than the base.
    """
    folder = folder.expanduser()
    file = _require_files(folder)
    config = read_config(folder)
    header = read_safetensors_header(file)
    parts = _parts(file, header, config)
    _require_targets(folder, list(parts), base)
    for module, names in parts.items():
        _require_shapes(file, module, {part: header[name] for part, name in names.items()}, config, base)
    modules: dict[str, LowRank] = {}
    with safe_open(file, framework="pt") as stored:
        for module, names in parts.items():
            tensors = {part: stored.get_tensor(name).float() for part, name in names.items()}
            for part, tensor in tensors.items():
                require_finite(f"{file}: {names[part]}", tensor)
            b = tensors[B] * config.scale_of(module)
            modules[module] = LowRank(tensors[A], b)
    return PeftAdapter(folder, config, modules)


def targets(architecture: str) -> tuple[str, ...]:
    """Return the linears of a layer that an adapter may add to, `{expert}` left out: every one that a fold can change.

    Raises BadInput for an architecture that is not in the table.
    """
    row = architecture_of(architecture)
    return tuple(name for name in dict.fromkeys((*row.qkv, row.o, *row.ffn, row.down)) if "{expert}" not in name)


def _require_files(folder: Path) -> Path:
    """Return the adapter's weight file. Raises BadInput where the folder does not hold an adapter in safetensors."""
    what = f"the folder of a PEFT adapter: {ADAPTER_FILE} and {WEIGHTS}"
    if not folder.is_dir():
        raise BadInput(f"{folder}: this is a file. Give {what}." if folder.exists() else f"{folder}: no such folder.")
    if not (folder / ADAPTER_FILE).is_file():
        raise BadInput(f"{folder}: no {ADAPTER_FILE} there. Give {what}.")
    if (folder / WEIGHTS).is_file():
        return folder / WEIGHTS
    if (folder / PICKLED).is_file():
        raise BadInput(
            f"{folder}: its weights are in {PICKLED}, a pickle, which can run code when it is read. Load the adapter "
            "with peft where you trust it, and save it again (save_pretrained writes safetensors)."
        )
    raise BadInput(f"{folder}: no {WEIGHTS} there. Give {what}.")


def _parts(file: Path, header: Mapping[str, TensorInfo], config: PeftConfig) -> dict[str, dict[str, str]]:
    """Return the tensors' names by module and part. Raises BadInput for other names, or a module without a part."""
    parts: dict[str, dict[str, str]] = {}
    strangers: list[str] = []
    for name in sorted(header):
        if match := _NAME.fullmatch(name):
            parts.setdefault(match["module"], {})[match["part"]] = name
        else:
            strangers.append(name)
    if strangers:
        raise BadInput(
            f"{file}: {listed(strangers)}: not a part of a LoRA of a linear. Whole modules, embeddings, norms and "
            "biases in an adapter are not supported."
        )
    if not parts:
        raise BadInput(f"{file}: it holds no tensors.")
    for module, names in parts.items():
        if missing := sorted({A, B} - names.keys()):
            raise BadInput(f"{file}: {module}.{missing[0]} is missing. Save the adapter again.")
    return parts


def _require_targets(folder: Path, modules: list[str], base: Checkpoint) -> None:
    """Raise BadInput where the adapter adds to what the base does not have, or to what no fold covers."""
    for module in (EMBEDDING, HEAD):
        if module in modules:
            raise BadInput(
                f"{folder}: it adapts {module}. Adapted embeddings and heads are not supported: train the adapter with "
                "target_modules of the layers' linears alone."
            )
    if missing := [module for module in modules if f"{module}.weight" not in base.tensors]:
        raise BadInput(
            f"{folder}: {listed(missing)}: {base.name} has no such modules. The adapter belongs to another base."
        )
    known = set(targets(base.architecture))
    layer = re.compile(re.escape(LAYER).replace(re.escape("{layer}"), r"\d+"))
    if strangers := [module for module in modules if layer.sub("", module, count=1) not in known]:
        raise BadInput(
            f"{folder}: {listed(strangers)}: only additions to {', '.join(sorted(known))} are supported of "
            f"{base.architecture}."
        )


def _require_shapes(
    file: Path, module: str, parts: Mapping[str, TensorInfo], config: PeftConfig, base: Checkpoint
) -> None:
    """Raise BadInput where the tensors of a module do not have the base's shape and the rank of the settings."""
    n_out, n_in = base.tensors[f"{module}.weight"].shape
    rank = config.rank_of(module)
    for part, shape in ((A, (rank, n_in)), (B, (n_out, rank))):
        if parts[part].shape != shape:
            raise BadInput(
                f"{file}: {module}.{part} has the shape {list(parts[part].shape)}, and for rank {rank} on {base.name} "
                f"it is {list(shape)}. The adapter belongs to another base, or {ADAPTER_FILE} to another adapter."
            )
