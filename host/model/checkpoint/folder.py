"""Is this folder a checkpoint that can be read, and what is in it? Reads headers only; needs no torch."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from smoothdroid.device.common.errors import BadInput

# What is copied along with the weights: data only. Python files stay behind, so that nothing can run them.
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
INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
PYTORCH_FILE = "pytorch_model.bin"
WEIGHTS = (SINGLE_FILE, INDEX_FILE, PYTORCH_FILE, f"{PYTORCH_FILE}.index.json")

# safetensors' own limit on a header (MAX_HEADER_SIZE in safetensors/src/tensor.rs). The length comes out of
# the file: without a limit, eight bytes of rubbish would have us read 16 EB.
MAX_HEADER_BYTES = 100_000_000

# Quantised weights are stored as the types that are not here. The last two hold positions and masks: GPT-2's and
# others' checkpoints carry such buffers beside their weights, and the converter leaves them out.
BYTES_PER_ELEMENT = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "BOOL": 1}

HASH_CHUNK_BYTES = 1 << 22


@dataclass(frozen=True)
class TensorInfo:
    """A tensor as its file's header describes it."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def n_elements(self) -> int:
        return math.prod(self.shape)

    @property
    def n_bytes(self) -> int:
        return self.n_elements * BYTES_PER_ELEMENT[self.dtype]


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

    @property
    def name(self) -> str:
        """The folder's name; in the hub's cache (models--ORG--NAME/snapshots/COMMIT) the repository's."""
        repository = self.path.parents[1].name if self.revision else ""
        if not repository.startswith(HUB_MODELS):
            return self.path.name
        return repository.removeprefix(HUB_MODELS).rpartition("--")[2] or self.path.name

    @property
    def index_file(self) -> Path | None:
        """Which tensor is in which file, where there are several."""
        single = PYTORCH_FILE if self.weight_files[0].suffix == ".bin" else SINGLE_FILE
        return None if self.weight_files == (self.path / single,) else self.path / f"{single}.index.json"

    @property
    def revision(self) -> str | None:
        """The commit on the hub that it is, where it lies in the hub's cache (.../snapshots/COMMIT)."""
        return self.path.name if self.path.parent.name == "snapshots" else None

    @property
    def n_parameters(self) -> int:
        return sum(tensor.n_elements for tensor in self.tensors.values())


def open_checkpoint(path: Path) -> Checkpoint:
    """Check the checkpoint in the folder `path` and describe it.

    Raises BadInput where it is no checkpoint, is quantised already, holds no safetensors, or is cut short.
    """
    path = path.expanduser()  # not resolved: messages show it as it was typed
    _require_folder(path)
    config = read_object(path / "config.json")
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
    if not any(all((path / file).is_file() for file in files) for files in TOKENIZER_FILES):
        raise BadInput(
            f"{path}: no tokenizer.json, no tokenizer.model, and no vocab.json with merges.txt. Copy the model's "
            "tokenizer files there."
        )
    weight_files, indexed = _find_weights(path)
    tensors: dict[str, TensorInfo] = {}
    tensors_by_file: dict[Path, frozenset[str]] = {}
    for file in weight_files:
        in_file = _read_header(file)
        tensors_by_file[file] = frozenset(in_file)
        tensors.update(in_file)
    missing = sorted(indexed - tensors.keys())
    if missing:
        raise BadInput(
            f"{path / INDEX_FILE}: names {len(missing)} tensors that are in none of its files, "
            f"{missing[0]} among them. Index and files do not belong together; fetch the checkpoint again."
        )
    folder = path.resolve()
    return Checkpoint(
        path=folder,
        config=config,
        architecture=architectures[0],
        weight_files=tuple(folder / file.name for file in weight_files),
        companion_files=tuple(folder / name for name in COMPANION_FILES if (path / name).is_file()),
        tensors=tensors,
        tensors_by_file={folder / file.name: names for file, names in tensors_by_file.items()},
    )


def read_safetensors_header(file: Path) -> dict[str, TensorInfo]:
    """The tensors of a safetensors file, from its header alone.

    The format: 8 bytes little-endian header length, that many bytes of JSON, the tensors' bytes.
    Raises BadInput where the header is not one, a dtype is not a float of 16 bits or more, or the file
    does not end where its header says.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            start = stream.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
                raise _broken(file, "it does not begin as a safetensors file does")
            header = json.loads(stream.read(length))
    except OSError as error:
        raise BadInput(f"{file}: cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise _broken(file, "its header is not JSON") from error
    if not isinstance(header, dict):
        raise _broken(file, "its header is not a table of tensors")
    header.pop("__metadata__", None)
    tensors: dict[str, TensorInfo] = {}
    end_of_data = 0
    for name, entry in header.items():
        try:
            dtype, (begin, end) = entry["dtype"], entry["data_offsets"]
            shape = tuple(entry["shape"])
            sane = isinstance(dtype, str) and all(type(n) is int and n >= 0 for n in (*shape, begin, end))
        except (KeyError, TypeError, ValueError) as error:
            raise _broken(file, f"its header has no dtype, shape and place for {name}") from error
        if not sane:
            raise _broken(file, f"the dtype, shape or place of {name} makes no sense")
        _require_known(file, name, dtype)
        tensor = TensorInfo(dtype, shape)
        if end - begin != tensor.n_bytes:
            raise _broken(file, f"the size of {name} does not fit its shape")
        tensors[name] = tensor
        end_of_data = max(end_of_data, end)
    if size != 8 + length + end_of_data:
        raise _broken(file, f"it should have {8 + length + end_of_data} bytes by its header, and has {size}")
    return tensors


def hash_files(files: tuple[Path, ...], on_progress: Callable[[str, int, int], None] | None = None) -> dict[str, str]:
    """File name -> SHA-256 in hex. Progress is told in bytes."""
    total = sum(file.stat().st_size for file in files)
    done = 0
    hashes: dict[str, str] = {}
    for file in files:
        digest = sha256()
        with file.open("rb") as stream:
            while chunk := stream.read(HASH_CHUNK_BYTES):
                digest.update(chunk)
                done += len(chunk)
                if on_progress:
                    on_progress("hash", done, total)
        hashes[file.name] = digest.hexdigest()
    return hashes


def _require_folder(path: Path) -> None:
    wanted = "Give the folder of a Hugging Face checkpoint: config.json, *.safetensors, tokenizer files."
    if not path.exists():
        raise BadInput(f"{path}: there is no such folder. {wanted}")
    if path.is_dir():
        if not any((path / file).is_file() for file in WEIGHTS):
            _refuse_adapter(path)
        if not (path / "config.json").is_file():
            ggufs = sorted(file.name for file in path.glob("*.gguf"))
            hint = f" It holds {ggufs[0]}, but a GGUF cannot be smoothed." if ggufs else ""
            if snapshots := sorted((path / "snapshots").glob("*/config.json")):
                hint = f" This is a repository in the hub's cache: give {snapshots[-1].parent}."
            raise BadInput(f"{path}: no config.json, so this is no checkpoint.{hint} {wanted}")
        return
    if path.suffix == ".gguf":
        raise BadInput(
            f"{path}: this is a GGUF, which is converted and quantised already. "
            "Give the checkpoint folder that it was made from."
        )
    raise BadInput(f"{path}: this is a file. {wanted}")


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


def _find_weights(path: Path) -> tuple[tuple[Path, ...], set[str]]:
    """The weight files, and the tensors that the index promises (none where there is a single file)."""
    for single in (SINGLE_FILE, PYTORCH_FILE):  # safetensors where there are both
        index = path / f"{single}.index.json"
        if index.is_file():
            return _shards(path, index, Path(single).suffix)
        if (path / single).is_file():
            return (path / single,), set()
    raise BadInput(
        f"{path}: no weights: neither {SINGLE_FILE} nor {INDEX_FILE} is there, and no {PYTORCH_FILE} of an older "
        "checkpoint."
    )


def _shards(path: Path, index: Path, suffix: str) -> tuple[tuple[Path, ...], set[str]]:
    weight_map = read_object(index).get("weight_map")
    if not (isinstance(weight_map, dict) and weight_map):
        raise BadInput(f'{index}: no "weight_map". Fetch the file again.')
    shards = sorted({str(shard) for shard in weight_map.values()})
    # A name with a slash would be read, and later written, outside of the folder.
    odd = [shard for shard in shards if Path(shard).name != shard or not shard.endswith(suffix)]
    if odd:
        raise BadInput(f"{index}: {odd[0]!r} is no name of a {suffix} file in this folder.")
    missing = [shard for shard in shards if not (path / shard).is_file()]
    if missing:
        raise BadInput(
            f"{path}: {len(missing)} of {len(shards)} weight files are missing: {', '.join(missing)}. "
            "Fetch them from where the checkpoint came from."
        )
    return tuple(path / shard for shard in shards), set(weight_map)


def _read_header(file: Path) -> dict[str, TensorInfo]:
    if file.suffix != ".bin":
        return read_safetensors_header(file)
    from smoothdroid.host.model.checkpoint.pytorch_file import (
        header,  # only this old kind of file needs torch to tell what it holds
    )

    tensors = {name: TensorInfo(dtype, shape) for name, (dtype, shape) in header(file).items()}
    for name, tensor in tensors.items():
        _require_known(file, name, tensor.dtype)
    return tensors


def _require_known(file: Path, name: str, dtype: str) -> None:
    if dtype not in BYTES_PER_ELEMENT:
        raise BadInput(
            f"{file}: {name} is stored as {dtype}; only {', '.join(BYTES_PER_ELEMENT)} are read. "
            "Give a checkpoint that is not quantised."
        )


def read_object(file: Path) -> dict[str, Any]:
    """The object in a JSON file, which may begin with a byte order mark. Raises BadInput where there is none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadInput(f"{file}: cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        if file.read_bytes()[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise BadInput(
                f"{file}: not JSON in UTF-8: it begins with the byte order mark of UTF-16. Save it as UTF-8."
            ) from error
        raise BadInput(f"{file}: not JSON: {error}. Fetch the file again.") from error
    if not isinstance(content, dict):
        raise BadInput(f"{file}: not a JSON object. Fetch the file again.")
    return content


def _broken(file: Path, why: str) -> BadInput:
    return BadInput(f"{file}: cut short or damaged: {why}. Fetch the file again.")
