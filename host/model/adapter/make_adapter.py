"""Make the GGUF of a PEFT adapter for a prepared base: moved as the base was, proven, and bound to that file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save_file

from smoothdroid.device.common.atomic_file import publish
from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.host.common.workspace import workspace
from smoothdroid.host.model.adapter.peft_folder import PREFIX, WEIGHTS, LowRank, PeftAdapter, open_adapter
from smoothdroid.host.model.adapter.prepared_base import PreparedBase, open_base
from smoothdroid.host.model.adapter.proof import prove
from smoothdroid.host.model.checkpoint.folder import ADAPTER_FILE
from smoothdroid.host.model.convert.lora_conversion import to_lora_gguf
from smoothdroid.host.model.provenance.adapter_manifest import (
    ADAPTER_KEY,
    AdapterBinding,
    AdapterManifest,
    SourceAdapter,
)
from smoothdroid.host.model.provenance.manifest import manifest_path
from smoothdroid.host.model.provenance.versions import versions
from smoothdroid.host.model.smoothquant.tensor_changes import TensorChange, TensorChanges


@dataclass(frozen=True)
class MadeAdapter:
    """A finished adapter: its GGUF and the manifest beside it."""

    path: Path
    manifest: AdapterManifest


def make_adapter(
    folder: Path,
    base: Path,
    output: Path,
    *,
    llama_cpp: Path,
    llama_cpp_id: str,
    on_step: Callable[[str], None] | None = None,
) -> MadeAdapter:
    """Write the GGUF `output` of the PEFT adapter in `folder`, for the GGUF `base` that `prepare` made.

    `llama_cpp`: a llama.cpp source tree, whose script writes the GGUF; `llama_cpp_id` names it in the manifest.
    Raises BadInput where the adapter is not supported or not one of this base, SmoothdroidError where base and adapter
    would not be the same function as before, or where the script fails.
    """
    say = on_step or (lambda _step: None)
    output = output.expanduser().absolute()
    _require_output(output)
    prepared = open_base(base)
    adapter = open_adapter(folder, prepared.checkpoint)
    with workspace(output.parent, f"{output.stem}-adapter") as work:
        say(f"moving {len(adapter.modules)} modules as those of {base.name} were")
        moved = {module: move(f"{module}.weight", added, prepared.changes) for module, added in adapter.modules.items()}
        binding = _binding(adapter, prepared, llama_cpp_id)
        partial = work / "adapter.gguf"
        to_lora_gguf(
            _write_peft(moved, work / adapter.folder.resolve().name),
            _write_config(prepared, work / "config"),
            partial,
            llama_cpp,
            log=output.with_suffix(".convert.log"),
            metadata={ADAPTER_KEY: binding.model_dump_json()},
        )
        say("proving that base and adapter are the same function as before")
        equivalence = prove(prepared, adapter.modules, partial)
        manifest = AdapterManifest(
            **dict(binding),
            file=output.name,
            sha256=sha256_of(partial),
            size_bytes=partial.stat().st_size,
            equivalence=equivalence,
        )
        record = work / manifest_path(output).name
        record.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        manifest_path(output).unlink(missing_ok=True)  # at no time does one lie beside another's GGUF
        publish(partial, output)
        publish(record, manifest_path(output))
    return MadeAdapter(output, manifest)


def move(name: str, added: LowRank, changes: TensorChanges) -> LowRank:
    """Return the addition to the tensor `name`, changed as the tensor was: A by its columns, B by its rows."""
    change = changes.get(name, TensorChange())
    return LowRank(change.of_columns().apply(added.a), change.of_rows().apply(added.b))


def _require_output(output: Path) -> None:
    if output.suffix != ".gguf" or output.is_dir():
        raise BadInput(f"{output}: name the adapter's file, which ends with .gguf.")


def _binding(adapter: PeftAdapter, base: PreparedBase, llama_cpp_id: str) -> AdapterBinding:
    config = adapter.config
    source = SourceAdapter(
        name=adapter.folder.resolve().name,
        files_sha256={file.name: sha256_of(file) for file in adapter.files},
        trained_on=config.base,
        rank=config.rank,
        alpha=config.alpha,
        rank_stabilised=config.rank_stabilised,
        n_modules=len(adapter.modules),
    )
    return AdapterBinding(
        source=source, base=base.path.name, base_sha256=base.sha256, llama_cpp=llama_cpp_id, versions=versions()
    )


def _write_peft(modules: Mapping[str, LowRank], folder: Path) -> Path:
    """Make `folder` a PEFT adapter with no other setting than that B A is added as it is; returns it."""
    folder.mkdir()
    tensors = {f"{PREFIX}{module}.{part}": tensor for module, low in modules.items() for part, tensor in low.parts}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS)
    # llama.cpp multiplies by alpha / rank, and by nothing where alpha is 0: the adapter's factor is in B already.
    (folder / ADAPTER_FILE).write_text(json.dumps({"peft_type": "LORA", "lora_alpha": 0}), encoding="utf-8")
    return folder


def _write_config(base: PreparedBase, folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(dict(base.checkpoint.config)), encoding="utf-8")
    return folder
