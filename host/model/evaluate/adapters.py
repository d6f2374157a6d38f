"""Candidates of an evaluation that are run with an adapter, each with the one that was made for its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.host.model.evaluate.compatibility import Gguf
from smoothdroid.host.model.evaluate.perplexity import HostKernels, InferenceKernels
from smoothdroid.host.model.evaluate.phone_kernels import PhoneKernels
from smoothdroid.host.model.provenance.adapter_manifest import read_binding


@dataclass(frozen=True)
class AdaptedGguf:
    """A model file with an adapter, a Gguf of its own: the name and the hash are those of both files together."""

    path: Path
    name: str
    sha256: str
    size_bytes: int
    bits_per_weight: float


def with_adapters(candidates: Sequence[Gguf], adapters: Sequence[Path]) -> tuple[list[Gguf], dict[Path, Path]]:
    """Return the candidates, those named by an adapter as AdaptedGguf, and the adapter of each such file.

    Raises BadInput where an adapter was made for none of the candidates, or two for the same.
    """
    of: dict[Path, Path] = {}
    for adapter in adapters:
        binding = read_binding(adapter)
        fitting = [candidate.path for candidate in candidates if candidate.sha256 == binding.base_sha256]
        if not fitting:
            raise BadInput(
                f"{adapter}: it was made for {binding.base} with the SHA-256 {binding.base_sha256[:16]}..., which is "
                "none of the candidates; on another base it gives garbage."
            )
        if fitting[0] in of:
            raise BadInput(f"{adapter} and {of[fitting[0]]} were both made for {fitting[0]}: give one of them.")
        of[fitting[0]] = adapter
    return [_adapted(each, of[each.path]) if each.path in of else each for each in candidates], of


def run_with(kernels: InferenceKernels, adapters: Mapping[Path, Path]) -> InferenceKernels:
    """Return the kernels, running each GGUF with its adapter. Raises BadInput where they cannot run any."""
    if not adapters:
        return kernels
    if not isinstance(kernels, HostKernels | PhoneKernels):
        raise BadInput(f"{kernels.name}: models with adapters are not emulated.")
    return replace(kernels, adapters=adapters)


def _adapted(model: Gguf, adapter: Path) -> AdaptedGguf:
    return AdaptedGguf(
        path=model.path,
        name=f"{model.name}+{adapter.stem}",
        sha256=sha256(f"{model.sha256} {sha256_of(adapter)}".encode()).hexdigest(),
        size_bytes=model.size_bytes + adapter.stat().st_size,
        bits_per_weight=model.bits_per_weight,
    )
