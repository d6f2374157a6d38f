"""The whole of `prepare` on checkpoints as people bring them: what it says, when, and what it leaves.

What the converter makes of each kind of checkpoint is in test_odd_checkpoints.py, without the rest.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from gguf import GGUFReader
from safetensors.torch import load_file

from smoothdroid.device.common.errors import BadInput, SmoothdroidError
from smoothdroid.host.model.prepare import prepare
from smoothdroid.host.model.prepare_settings import PrepareSettings
from tests.host import without
from tests.host.model.odd_checkpoints import (
    EMBEDDING,
    HEAD,
    TensorChange,
    byte_level,
    changed,
    prefixed,
    rows,
    sentencepiece,
    tensors,
)

MakeCheckpoint = Callable[..., Path]
COMMIT = "4e20de362430cd3b72f300e6b0f18e50e7166e08"
PLAIN = PrepareSettings(smooth=False, plain=True, types=("f32",))
LEFT_SCALE: TensorChange = tensors(
    lambda stored: {**stored, "model.layers.0.self_attn.k_scale": stored[EMBEDDING][:1, 0]}
)


@pytest.fixture
def small(prose: Path) -> PrepareSettings:
    return PrepareSettings(n_samples=2, seq_len=16, calib=prose)


@pytest.mark.fault(
    "the model is a snapshot in the hub's cache, with more rows than tokens",
    transport="workstation",
    outcome="named by its repository; padded to its rows by id, and loaded by llama.cpp before it is published",
)
def test_a_padded_model_in_the_hubs_cache(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, small: PrepareSettings, llama_cpp: Path, llama_bench: Path
) -> None:
    snapshots = tmp_path / "models--acme--Tiny-Llama-1B" / "snapshots"
    snapshots.mkdir(parents=True)
    model = changed(snapshots / COMMIT, make_checkpoint(), rows(384))
    (made,) = prepare(model, tmp_path / "out", small, llama_cpp=llama_cpp, llama_bench=llama_bench)
    assert made.path.name == "Tiny-Llama-1B-smooth-q8_0.gguf"
    names = [made.path.name, f"{made.path.name}.changes", made.manifest_path.name]
    assert sorted(file.name for file in made.path.parent.iterdir()) == names
    assert (made.manifest.recipe.source.name, made.manifest.recipe.source.revision) == ("Tiny-Llama-1B", COMMIT)
    fields = GGUFReader(made.path).fields
    assert fields["general.name"].contents() == "Tiny-Llama-1B smooth"
    assert fields["tokenizer.ggml.tokens"].contents()[380] == "[PAD380]"


@pytest.mark.fault(
    "llama.cpp's converter does not know the tokenizer, or has no place for a tensor",
    transport="workstation",
    outcome="refused before calibration, with the path as it was typed; nothing is left",
)
@pytest.mark.parametrize(
    ("changes", "says", "smooth"),
    [
        ((byte_level, rows(300)), "BPE pre-tokenizer is not known", True),
        ((LEFT_SCALE,), "no place for its tensor model.layers.0.self_attn.k_scale", False),
        ((prefixed("_orig_mod."),), "all names of its tensors begin with '_orig_mod.'", True),
    ],
    ids=["pre-tokenizer", "stray", "prefix"],
)
def test_it_is_told_before_calibration(
    make_checkpoint: MakeCheckpoint,
    tmp_path: Path,
    small: PrepareSettings,
    llama_cpp: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: tuple[TensorChange, ...],
    says: str,
    smooth: bool,
) -> None:
    changed(tmp_path / "odd", make_checkpoint(), *changes)
    monkeypatch.chdir(tmp_path)
    steps: list[str] = []
    settings = replace(small, smooth=smooth, plain=not smooth)
    with pytest.raises(BadInput, match=rf"^odd: .*{says}") as raised:
        prepare(Path("odd"), Path("out"), settings, llama_cpp=llama_cpp, on_step=steps.append)
    assert "partial" not in str(raised.value)
    assert str(tmp_path) not in str(raised.value)
    assert not [step for step in steps if step.startswith("smoothing")]
    assert list(tmp_path.glob("out/*")) + list(tmp_path.glob("out/.*")) == []


def test_what_llama_cpp_does_not_load_is_not_published(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, llama_cpp: Path, llama_bench: Path
) -> None:
    """The real llama-bench, which is shown a file with its last bytes cut off."""
    tool = tmp_path / "tool"
    cut = 'head -c -999 "$2" > "$2.cut" && mv "$2.cut" "$2"'
    tool.write_text(f'#!/bin/sh\n{cut}\nexec {llama_bench} "$@"\n', encoding="utf-8")
    tool.chmod(0o755)
    with pytest.raises(SmoothdroidError, match=r"tiny-plain-f32\.gguf: llama\.cpp does not load it: .*bounds"):
        prepare(make_checkpoint(), tmp_path / "out", PLAIN, llama_cpp=llama_cpp, llama_bench=tool)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["tiny-plain-f32.load.log"]


def test_gemma_1_whose_head_repeats_the_embedding(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, small: PrepareSettings, llama_cpp: Path, llama_bench: Path
) -> None:
    """llama.cpp's converter drops the head, so nothing may be folded into it."""
    base = make_checkpoint(architecture="GemmaForCausalLM", tied=True, config={"attention_bias": False})
    model = changed(
        tmp_path / "gemma", base, sentencepiece, tensors(lambda stored: {**stored, HEAD: stored[EMBEDDING]})
    )
    (made,) = prepare(
        model, tmp_path / "out", small, llama_cpp=llama_cpp, llama_bench=llama_bench, save_hf=tmp_path / "hf"
    )
    assert "output.weight" not in {tensor.name for tensor in GGUFReader(made.path).tensors}
    assert HEAD not in load_file(tmp_path / "hf" / "model.safetensors")
    for settings in (replace(small, untie=True), replace(small, untie=True, folds="rotate")):
        with pytest.raises(BadInput, match="multiplies by the embedding, so the head cannot have a tensor of its own"):
            prepare(model, tmp_path / "out", settings, llama_cpp=llama_cpp)


@pytest.mark.fault(
    "the output folder has neither locks nor symbolic links (exFAT, CIFS, NFS without lockd)",
    transport="workstation",
    outcome="the file is made all the same",
)
def test_an_output_folder_without_locks_and_links(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, llama_cpp: Path
) -> None:
    argv = [str(Path(sys.executable).with_name("smoothdroid")), "prepare", str(make_checkpoint()), "--plain"]
    argv += ["-o", str(tmp_path / "out"), "--type", "f32", "--llama-cpp", str(llama_cpp)]
    refused = without.command({"flock": "ENOLCK", "symlink": "EPERM"}, argv)
    done = subprocess.run(refused, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "tiny-plain-f32.gguf",
        "tiny-plain-f32.gguf.changes",
        "tiny-plain-f32.gguf.json",
    ]
