from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.checkpoint.folder import open_checkpoint
from smoothdroid.host.model.checkpoint.weight_files import read_safetensors_header

MakeCheckpoint = Callable[..., Path]


def test_describes_a_checkpoint(make_checkpoint: MakeCheckpoint) -> None:
    checkpoint = open_checkpoint(make_checkpoint(dtype=torch.bfloat16))
    assert checkpoint.name == "tiny"
    assert checkpoint.architecture == "LlamaForCausalLM"
    norm = checkpoint.tensors["model.layers.1.input_layernorm.weight"]
    assert (norm.dtype, norm.shape, norm.n_bytes) == ("BF16", (64,), 128)
    assert checkpoint.n_parameters == sum(t.n_elements for t in checkpoint.tensors.values()) > 100_000
    assert [file.name for file in checkpoint.companion_files] == [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_reads_shards(make_checkpoint: MakeCheckpoint) -> None:
    whole = open_checkpoint(make_checkpoint("whole"))
    sharded = open_checkpoint(make_checkpoint("sharded", max_shard_size="200KB"))
    assert len(sharded.weight_files) > 1
    assert sharded.tensors == whole.tensors


def break_missing(folder: Path) -> Path:
    return folder / "not-there"


def break_file(folder: Path) -> Path:
    return folder / "config.json"


def break_gguf(folder: Path) -> Path:
    gguf = folder / "model.gguf"
    gguf.write_bytes(b"GGUF")
    return gguf


def break_gguf_folder(folder: Path) -> Path:
    other = folder / "other"
    other.mkdir()
    (other / "model.gguf").write_bytes(b"GGUF")
    return other


def break_no_config(folder: Path) -> Path:
    (folder / "config.json").unlink()
    return folder


def break_config_syntax(folder: Path) -> Path:
    (folder / "config.json").write_text('{"architectures": ')
    return folder


def break_config_type(folder: Path) -> Path:
    (folder / "config.json").write_text("[]")
    return folder


def break_config_encoding(folder: Path) -> Path:
    (folder / "config.json").write_bytes(b"\xff\xfe{}")
    return folder


def break_architecture(folder: Path) -> Path:
    (folder / "config.json").write_text('{"architectures": []}')
    return folder


def break_quantised(folder: Path) -> Path:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": {"bits": 4}}))
    return folder


def break_tokenizer(folder: Path) -> Path:
    (folder / "tokenizer.json").unlink()
    return folder


def break_weights(folder: Path) -> Path:
    (folder / "model.safetensors").unlink()
    return folder


def break_pickle(folder: Path) -> Path:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    return folder


def break_index(folder: Path) -> Path:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": 3}')
    return folder


def break_shard(folder: Path) -> Path:
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    return folder


def break_outside(folder: Path) -> Path:
    index = {"weight_map": {"a": "../elsewhere.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder.parent / "elsewhere.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    return folder


def break_promise(folder: Path) -> Path:
    index = {"weight_map": {"nowhere.weight": "model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def break_cut(folder: Path) -> Path:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    return folder


def break_length(folder: Path) -> Path:
    weights = folder / "model.safetensors"
    weights.write_bytes(struct.pack("<Q", 2**63) + weights.read_bytes()[8:])
    return folder


def break_dtype_type(folder: Path) -> Path:
    header = b'{"w": {"dtype": ["F32"], "shape": [0], "data_offsets": [0, 0]}}'
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    return folder


def break_number(folder: Path) -> Path:
    (folder / "config.json").write_text('{"hidden_size": ' + "9" * 5000 + "}")  # more digits than int() takes
    return folder


def break_dtype(folder: Path) -> Path:
    save_file({"w": torch.zeros(4, dtype=torch.int8)}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (break_missing, "no such folder"),
        (break_file, "this is a file"),
        (break_gguf, "this is a GGUF"),
        (break_gguf_folder, "It holds model.gguf"),
        (break_no_config, "no config.json"),
        (break_config_syntax, "not JSON"),
        (break_config_type, "not a JSON object"),
        (break_config_encoding, "not JSON"),
        (break_architecture, 'no "architectures"'),
        (break_quantised, "quantised already"),
        (break_tokenizer, "no tokenizer.json"),
        (break_weights, "no weights"),
        (break_pickle, r"pytorch_model.bin: cut short, damaged"),
        (break_index, 'no "weight_map"'),
        (break_shard, r"1 of 2 weight files are missing: model-00002-of-00002.safetensors"),
        (break_outside, "no name of a .safetensors file in this folder"),
        (break_promise, "nowhere.weight"),
        (break_cut, "cut short.*should have"),
        (break_length, "cut short.*does not begin"),
        (break_dtype, "stored as I8"),
        (break_dtype_type, "cut short or damaged: the dtype, shape or place of w"),
        (break_number, "not JSON"),
    ],
)
def test_says_what_is_wrong(make_checkpoint: MakeCheckpoint, break_it: Callable[[Path], Path], says: str) -> None:
    path = break_it(make_checkpoint())
    with pytest.raises(BadInput, match=says) as raised:
        open_checkpoint(path)
    assert str(path.parent) in str(raised.value)


@pytest.mark.parametrize("value", [None, {}])
def test_a_quantization_config_of_nothing_is_none(make_checkpoint: MakeCheckpoint, value: object) -> None:
    folder = make_checkpoint()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": value}))
    assert open_checkpoint(folder).architecture == "LlamaForCausalLM"


@pytest.mark.fault(
    "a file of the checkpoint begins with a byte order mark",
    transport="workstation",
    outcome="read as if it were not there; UTF-16 is refused by name",
)
def test_a_byte_order_mark_is_passed_over(make_checkpoint: MakeCheckpoint) -> None:
    file = make_checkpoint() / "config.json"
    content = file.read_text(encoding="utf-8")
    file.write_text(content, encoding="utf-8-sig")
    assert open_checkpoint(file.parent).architecture == "LlamaForCausalLM"
    file.write_text(content, encoding="utf-16")
    with pytest.raises(BadInput, match=r"byte order mark of UTF-16\. Save it as UTF-8"):
        open_checkpoint(file.parent)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("models--acme--Tiny-Llama-1B/snapshots/4e20de362430cd3b72f300e6b0f18e50e7166e08", "Tiny-Llama-1B"),
        ("models--gpt2/snapshots/11c5a3d5811f50298f278a704980280950aedb10", "gpt2"),
        ("snapshots/mine", "mine"),
        ("models--acme--Tiny/other/mine", "mine"),
        ("models--/snapshots/mine", "mine"),
    ],
)
def test_the_hubs_cache_is_named_by_its_repository(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, folder: str, name: str
) -> None:
    """Snapshots hold links to ../../blobs, named by content, and may be reached through a link of the user's."""
    snapshot = tmp_path / "hub" / folder
    blobs = snapshot.parents[1] / "blobs"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(make_checkpoint().iterdir())):
        (snapshot / file.name).symlink_to(file.rename(blobs / f"blob{number}"))
    (tmp_path / "mine").symlink_to(snapshot)
    for path in (snapshot, tmp_path / "mine"):
        assert open_checkpoint(path).name == name
    if "snapshots" in folder and name != "mine":
        with pytest.raises(BadInput, match=f"hub's cache: give {snapshot}"):
            open_checkpoint(snapshot.parents[1])


@pytest.mark.fault(
    "the folder of a LoRA adapter is given, not that of a model",
    transport="workstation",
    outcome="refused: which model it belongs to, and how it is merged",
)
@pytest.mark.parametrize("kept", [[], ["config.json", "tokenizer.json"]])
@pytest.mark.parametrize(
    ("adapter", "says"),
    [
        (
            {"peft_type": "LORA", "base_model_name_or_path": "x/y"},
            r"this is a LoRA adapter of x/y: merge it first \(peft:",
        ),
        ({"peft_type": "IA3", "base_model_name_or_path": "x/y"}, "this is a IA3 adapter of x/y"),
        ({}, "this is a PEFT adapter of another model"),
    ],
)
def test_an_adapter_is_no_model(
    make_checkpoint: MakeCheckpoint, kept: list[str], adapter: dict[str, str], says: str
) -> None:
    folder = make_checkpoint()
    for file in list(folder.iterdir()):
        if file.name not in kept:
            file.unlink()
    (folder / "adapter_config.json").write_text(json.dumps(adapter))
    save_file({"base_model.model.x.lora_A.weight": torch.zeros(8, 64)}, folder / "adapter_model.safetensors")
    with pytest.raises(BadInput, match=says):
        open_checkpoint(folder)


def test_messages_name_the_folder_as_it_was_typed(
    make_checkpoint: MakeCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_checkpoint()
    (folder / "tokenizer.json").unlink()
    (folder.parent / "link").symlink_to(folder)
    monkeypatch.chdir(folder.parent)
    with pytest.raises(BadInput, match=r"^link: no tokenizer\.json"):
        open_checkpoint(Path("link"))


HEADERS = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.just("F32"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["dtype", "shape", "data_offsets", "w"]), inner)
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=300)
@given(header=HEADERS | st.dictionaries(st.just("w"), HEADERS), data=st.binary(max_size=8))
def test_a_hostile_header_is_bad_input_or_true(tmp_path: Path, header: object, data: bytes) -> None:
    """Whatever the header says, either it fits the file or it is BadInput; nothing else is raised."""
    text = json.dumps(header).encode()
    file = tmp_path / "w.safetensors"
    file.write_bytes(struct.pack("<Q", len(text)) + text + data)
    try:
        tensors = read_safetensors_header(file)
    except BadInput:
        return
    assert max((tensor.n_bytes for tensor in tensors.values()), default=0) <= len(data)


@pytest.mark.fault(
    "a weight file is cut short at any byte",
    transport="workstation",
    outcome="refused from its header, before anything is read",
)
def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_file({"w": torch.zeros(4)}, file)
    content = file.read_bytes()
    assert read_safetensors_header(file)["w"].shape == (4,)
    for length in range(len(content)):
        file.write_bytes(content[:length])
        with pytest.raises(BadInput, match="cut short"):
            read_safetensors_header(file)
