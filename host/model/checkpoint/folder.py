"""The folder of a Hugging Face checkpoint: checks that it can be read, and describes it. Reads headers only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.checkpoint.json_file import read_object
from smoothdroid.host.model.checkpoint.text_part import text_part
from smoothdroid.host.model.checkpoint.weight_files import (
    PYTORCH_FILE,
    SINGLE_FILE,
    WEIGHTS,
    TensorInfo,
    tensors_by_file,
)

# The files copied along with the weights: data only. Python files stay behind, so that nothing can run them.
COMPANION_FILES = (
    "README.md",  # the converter takes licence and languages from its front matter
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "config.json",
    "generation_config.json",
    "merges.txt",
    "rwkv_vocab_v20230424.txt",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
# Each of these sets makes a tokenizer: by far the most the first two; llama.cpp's converter reads T5's and RWKV's.
TOKENIZER_FILES = (
    ("tokenizer.json",),
    ("tokenizer.model",),
    ("spiece.model",),
    ("rwkv_vocab_v20230424.txt",),
    ("vocab.json", "merges.txt"),
)
ADAPTER_FILE = "adapter_config.json"
HUB_MODELS = "models--"


@dataclass(frozen=True)
class Checkpoint:
    """A Hugging Face checkpoint whose config, index and tensor headers hold together."""

    path: Path
    config: Mapping[str, Any]
    architecture: str
    weight_files: tuple[Path, ...]
    companion_files: tuple[Path, ...]
    tensors: Mapping[str, TensorInfo]
    tensors_by_file: Mapping[Path, frozenset[str]]
    stored_names: Mapping[str, str] = field(default_factory=dict)
    """The names of tensors in the files, where they are others: of the text part of a model that also reads images."""

    @property
    def name(self) -> str:
        """The folder's name; in the hub's cache (models--ORG--NAME/snapshots/COMMIT) the repository's."""
        repository = self.path.parents[1].name if self.revision else ""
        if not repository.startswith(HUB_MODELS):
            return self.path.name
        return repository.removeprefix(HUB_MODELS).rpartition("--")[2] or self.path.name

    @property
    def index_file(self) -> Path | None:
        """The index of the tensors in the weight files, None where there is a single file."""
        single = PYTORCH_FILE if self.weight_files[0].suffix == ".bin" else SINGLE_FILE
        return None if self.weight_files == (self.path / single,) else self.path / f"{single}.index.json"

    @property
    def revision(self) -> str | None:
        """The commit on the hub that it is, where it lies in the hub's cache (.../snapshots/COMMIT)."""
        return self.path.name if self.path.parent.name == "snapshots" else None

    @property
    def n_parameters(self) -> int:
        """The number of elements of all tensors."""
        return sum(tensor.n_elements for tensor in self.tensors.values())


def open_checkpoint(path: Path) -> Checkpoint:
    """Check the checkpoint in the folder `path` and describe it.

    Raises BadInput where it is no checkpoint, is quantised already, holds no weights, or is cut short.
    """
    path = path.expanduser()  # not resolved: messages show it as it was typed
    _require_folder(path)
    config = read_object(path / "config.json")
    architecture = _architecture(path, config)
    _require_tokenizer(path)
    tensors = tensors_by_file(path)
    folder = path.resolve()
    checkpoint = Checkpoint(
        path=folder,
        config=config,
        architecture=architecture,
        weight_files=tuple(folder / file.name for file in tensors),
        companion_files=tuple(folder / name for name in COMPANION_FILES if (path / name).is_file()),
        tensors={name: tensor for names in tensors.values() for name, tensor in names.items()},
        tensors_by_file={folder / file.name: frozenset(names) for file, names in tensors.items()},
    )
    return _text_only(checkpoint)


def _text_only(checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint of the text part alone, where it also reads images; otherwise the checkpoint itself."""
    part = text_part(checkpoint.config, checkpoint.architecture, checkpoint.tensors)
    if part is None:
        return checkpoint
    names = {stored: name for name, stored in part.stored_names.items()}
    return replace(
        checkpoint,
        config=part.config,
        architecture=part.architecture,
        tensors={name: checkpoint.tensors[stored] for name, stored in part.stored_names.items()},
        tensors_by_file={
            file: frozenset(names[stored] for stored in inside if stored in names)
            for file, inside in checkpoint.tensors_by_file.items()
        },
        stored_names=part.stored_names,
    )


def _architecture(path: Path, config: Mapping[str, Any]) -> str:
    """Return transformers' class of the model. Raises BadInput for none, and for a model that is quantised."""
    architectures = config.get("architectures")
    if not (isinstance(architectures, list) and architectures and isinstance(architectures[0], str)):
        raise BadInput(
            f'{path / "config.json"}: no "architectures", so it is not known what model this is. '
            'A causal language model has, for example, "architectures": ["LlamaForCausalLM"].'
        )
    if config.get("quantization_config"):  # null and {} say that it is not
        raise BadInput(
            f"{path}: this checkpoint is quantised already (config.json has a quantization_config). "
            "Give the unquantised checkpoint that it was made from."
        )
    return architectures[0]


def _require_tokenizer(path: Path) -> None:
    if not any(all((path / file).is_file() for file in files) for files in TOKENIZER_FILES):
        raise BadInput(
            f"{path}: no tokenizer.json, no tokenizer.model, and no vocab.json with merges.txt. Copy the model's "
            "tokenizer files there."
        )


def _require_folder(path: Path) -> None:
    """Raise BadInput where `path` is no folder with a checkpoint's files, with advice for what it is instead."""
    advice = "Give the folder of a Hugging Face checkpoint: config.json, *.safetensors, tokenizer files."
    if not path.exists():
        raise BadInput(f"{path}: there is no such folder. {advice}")
    if path.is_dir():
        if not any((path / file).is_file() for file in WEIGHTS):
            _refuse_adapter(path)
        if not (path / "config.json").is_file():
            ggufs = sorted(file.name for file in path.glob("*.gguf"))
            hint = f" It holds {ggufs[0]}, but a GGUF cannot be smoothed." if ggufs else ""
            if snapshots := sorted((path / "snapshots").glob("*/config.json")):
                hint = f" This is a repository in the hub's cache: give {snapshots[-1].parent}."
            raise BadInput(f"{path}: no config.json, so this is no checkpoint.{hint} {advice}")
        return
    if path.suffix == ".gguf":
        raise BadInput(
            f"{path}: this is a GGUF, which is converted and quantised already. "
            "Give the checkpoint folder that it was made from."
        )
    raise BadInput(f"{path}: this is a file. {advice}")


def _refuse_adapter(path: Path) -> None:
    """Raise BadInput where a folder without a model's weights holds an adapter for one."""
    if not (path / ADAPTER_FILE).is_file():
        return
    adapter = read_object(path / ADAPTER_FILE)
    kind, base = (str(adapter.get(key) or "") for key in ("peft_type", "base_model_name_or_path"))
    kind = {"LORA": "LoRA", "": "PEFT"}.get(kind.upper(), kind)
    raise BadInput(
        f"{path}: this is a {kind} adapter of {base or 'another model'}: merge it first (peft: merge_and_unload), and "
        "give the folder of the merged model."
    )
