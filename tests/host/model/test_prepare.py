"""The whole of `prepare`, through llama.cpp's real converter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from smoothdroid.device.common.errors import BadInput, SmoothdroidError
from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.host.cli import app
from smoothdroid.host.model.imatrix import read_imatrix, write_imatrix
from smoothdroid.host.model.prepare import prepare
from smoothdroid.host.model.prepare_settings import PrepareSettings, parse_types
from smoothdroid.host.model.provenance.manifest import METADATA_KEY, Provenance
from tests.host.model.odd_checkpoints import reads_images
from tests.processes import is_alive
from tests.waiting import eventually

MakeCheckpoint = Callable[..., Path]


@pytest.fixture
def small(prose: Path) -> PrepareSettings:
    return PrepareSettings(n_samples=4, seq_len=32, calib=prose)


def dequantised(gguf: Path) -> dict[str, np.ndarray]:
    return {tensor.name: dequantize(tensor.data, tensor.tensor_type) for tensor in GGUFReader(gguf).tensors}


def test_prepare_end_to_end(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, small: PrepareSettings, llama_cpp: Path
) -> None:
    """Both files are made, described truly, found again, and made to the same bytes anew."""
    model, output = make_checkpoint(), tmp_path / "out"
    both = replace(small, plain=True)
    smooth, plain = prepare(model, output, both, llama_cpp=llama_cpp, llama_cpp_id="b1")

    assert sorted(file.name for file in output.iterdir()) == [
        *(f"tiny-plain-q8_0.gguf{end}" for end in ("", ".changes", ".json")),
        *(f"tiny-smooth-q8_0.gguf{end}" for end in ("", ".changes", ".json")),
    ]
    for artifact in (smooth, plain):
        assert not artifact.reused
        assert artifact.sha256 == sha256_of(artifact.path)
        assert artifact.size_bytes == artifact.path.stat().st_size
        assert json.loads(artifact.manifest_path.read_text()) == artifact.manifest.model_dump(mode="json")
        assert 8.5 <= artifact.manifest.bits_per_weight < 9
        assert artifact.manifest.recipe.source.weights_sha256 == {
            "model.safetensors": sha256_of(model / "model.safetensors")
        }
        assert artifact.manifest.recipe.llama_cpp == "b1"
        inside = Provenance.model_validate_json(GGUFReader(artifact.path).fields[METADATA_KEY].contents())
        assert inside == Provenance(**{name: getattr(artifact.manifest, name) for name in Provenance.model_fields})
    outcome = smooth.manifest.outcome
    assert outcome is not None
    assert outcome.equivalence is not None
    assert 0 < outcome.equivalence.max_abs_logit_difference < 1e-5 * outcome.equivalence.logit_range
    assert [(fold.layer, fold.alpha) for fold in outcome.alphas] == [
        (layer, 0.5)
        for layer in (0, 0, 1, 1, None)  # the last norm's is folded into the head, which is untied
    ]
    assert smooth.manifest.recipe.smoothing is not None
    assert smooth.manifest.recipe.smoothing.alpha == {"norm": 0.5}
    assert plain.manifest.outcome is None
    names = [GGUFReader(artifact.path).fields["general.name"].contents() for artifact in (smooth, plain)]
    assert names == ["tiny smooth", "tiny"]

    # What the norm gives and the linear takes together is the original's, up to Q8_0's rounding.
    original, folded = load_file(model / "model.safetensors"), dequantised(smooth.path)
    norm, up = folded["blk.1.ffn_norm.weight"], folded["blk.1.ffn_up.weight"]
    before = (
        original["model.layers.1.post_attention_layernorm.weight"] * original["model.layers.1.mlp.up_proj.weight"]
    ).numpy()
    assert np.abs(norm * up - before).max() < 0.02 * np.abs(before).max()
    assert not np.allclose(norm, original["model.layers.1.post_attention_layernorm.weight"].numpy(), rtol=0.1)
    assert np.allclose(
        dequantised(plain.path)["blk.1.ffn_norm.weight"],
        original["model.layers.1.post_attention_layernorm.weight"].numpy(),
    )

    made = {file: file.stat().st_mtime_ns for file in output.iterdir()}
    steps: list[str] = []
    again = prepare(model, output, both, llama_cpp=llama_cpp, llama_cpp_id="b1", on_step=steps.append)
    assert [artifact.reused for artifact in again] == [True, True]
    assert [artifact.sha256 for artifact in again] == [smooth.sha256, plain.sha256]
    assert {file: file.stat().st_mtime_ns for file in output.iterdir()} == made
    assert len(steps) == 2
    assert all("exists already" in step for step in steps)

    (elsewhere,) = prepare(model, tmp_path / "other", small, llama_cpp=llama_cpp, llama_cpp_id="b1")
    assert elsewhere.sha256 == smooth.sha256, "the same seed and the same inputs give the same bytes"


@pytest.mark.parametrize(
    ("architecture", "folds"),
    [("LlamaForCausalLM", "norm,up-down,v-o,rotate"), ("MixtralForCausalLM", "norm,up-down,v-o,rotate")],
)
def test_bytes_are_those_of_llama_quantize(
    make_checkpoint: MakeCheckpoint,
    tmp_path: Path,
    small: PrepareSettings,
    llama_cpp: Path,
    llama_quantize: Path,
    architecture: str,
    folds: str,
) -> None:
    """Every tensor of our Q8_0 and Q4_0, and the metadata, against the real tool on our float32 file."""
    settings = replace(small, types=("f32", "q8_0", "q4_0"), folds=folds, untie=True)
    exact, *quantised = prepare(
        make_checkpoint(architecture=architecture, tied=True), tmp_path / "out", settings, llama_cpp=llama_cpp
    )
    for ours in quantised:
        kind = ours.manifest.recipe.quantisation
        theirs = tmp_path / f"{kind}.gguf"
        subprocess.run([llama_quantize, exact.path, theirs, kind], check=True, capture_output=True)
        (our_tensors, our_fields), (their_tensors, their_fields) = content(ours.path), content(theirs)
        assert our_tensors == their_tensors
        # The float32 file tells its own provenance, which the tool copies.
        assert our_fields.pop(METADATA_KEY) != their_fields.pop(METADATA_KEY)
        assert our_fields == their_fields
        assert "output.weight" in our_tensors


@pytest.mark.parametrize("tied", [True, False])
def test_heads_and_types(
    make_checkpoint: MakeCheckpoint,
    tmp_path: Path,
    small: PrepareSettings,
    llama_cpp: Path,
    llama_quantize: Path,
    tied: bool,
) -> None:
    """The head's type is the one chosen, whoever writes the file, and nothing else grows."""
    model = make_checkpoint(tied=tied, config={"hidden_size": 256, "intermediate_size": 256})
    settings = replace(small, smooth=False, plain=True, types=("bf16", "q4_1"), head="q8_0" if tied else "q6_k")
    made = prepare(model, tmp_path / "out", settings, llama_cpp=llama_cpp, llama_quantize=llama_quantize)
    for artifact, matrices in zip(made, ("BF16", "Q4_1"), strict=True):
        types = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(artifact.path).tensors}
        head = types.pop("token_embd.weight" if tied else "output.weight")
        assert head == ("Q8_0" if tied else "Q6_K")
        assert {kind for name, kind in types.items() if name.endswith("weight") and "norm" not in name} == {matrices}
        assert artifact.manifest.recipe.head == head.lower()


def test_an_importance_matrix_is_measured_once_and_rounds_by_the_smoothed_activations(
    make_checkpoint: MakeCheckpoint,
    tmp_path: Path,
    small: PrepareSettings,
    llama_cpp: Path,
    llama_quantize: Path,
) -> None:
    """Both files are what the real tool makes of the float32 files, and the matrix of each; found again afterwards."""
    model, output, file = make_checkpoint(), tmp_path / "out", tmp_path / "im.gguf"
    settings = replace(small, plain=True, types=("f32", "iq4_nl"), imatrix=file)
    steps: list[str] = []
    make = partial(prepare, model, output, settings, llama_cpp=llama_cpp, llama_quantize=llama_quantize)
    smooth_exact, smooth, plain_exact, plain = make(on_step=steps.append)
    assert sum("layer by layer" in step for step in steps) == 1, "the pass that smooths measures"
    matrix, scaled = read_imatrix(file), tmp_path / "scaled.gguf"
    norms = [dequantised(made.path)["blk.0.attn_norm.weight"] for made in (plain_exact, smooth_exact)]
    scales = {f"blk.0.attn_{part}.weight": (norms[0] / norms[1])[None] for part in "qkv"}
    write_imatrix(matrix.divided(scales), scaled)
    for exact, ours, imatrix in ((plain_exact, plain, file), (smooth_exact, smooth, scaled)):
        theirs = tmp_path / "theirs.gguf"
        argv = list(map(str, (llama_quantize, "--imatrix", imatrix, exact.path, theirs, "iq4_nl")))
        said = subprocess.run(argv, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
        assert "have 14 importance matrix entries" in said
        (our_tensors, our_fields), (their_tensors, _) = content(ours.path), content(theirs)
        for name in ("attn_q", "attn_k", "attn_v"):
            assert our_tensors[f"blk.0.{name}.weight"] == their_tensors[f"blk.0.{name}.weight"]
        assert our_fields["quantize.imatrix.entries_count"] == 14
        assert our_fields["quantize.imatrix.file"] == "imatrix.gguf", "no folder of this machine"
        assert ours.manifest.recipe.imatrix_sha256 == sha256_of(file)
    assert [made.reused for made in make()] == [True] * 4
    deeper = make_checkpoint("deeper", config={"num_hidden_layers": 3})
    other = replace(settings, smooth=False, types=("q4_0",))
    with pytest.raises(BadInput, match=r"no entry for blk\.2\..*belongs to another model"):
        prepare(deeper, output, other, llama_cpp=llama_cpp, llama_quantize=llama_quantize)


def content(gguf: Path) -> tuple[dict[str, tuple[str, bytes]], dict[str, Any]]:
    reader = GGUFReader(gguf)
    tensors = {tensor.name: (tensor.tensor_type.name, tensor.data.tobytes()) for tensor in reader.tensors}
    return tensors, {name: field.contents() for name, field in reader.fields.items()}


def test_another_alpha_replaces_the_smoothed_file_alone(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, small: PrepareSettings, llama_cpp: Path
) -> None:
    model = make_checkpoint(tied=True, dtype=torch.float16)
    settings = replace(small, plain=True)
    first = prepare(model, tmp_path / "out", settings, llama_cpp=llama_cpp)
    second = prepare(model, tmp_path / "out", replace(settings, alpha="0.8"), llama_cpp=llama_cpp)
    assert [artifact.reused for artifact in second] == [False, True]
    assert second[0].path == first[0].path
    assert second[0].sha256 != first[0].sha256
    assert second[0].sha256 == sha256_of(second[0].path)


@pytest.mark.parametrize("kernel", ["ggml", "kleidiai"])
def test_auto_chooses_and_says_what(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, small: PrepareSettings, llama_cpp: Path, kernel: str
) -> None:
    settings = replace(small, alpha="auto", kernel=kernel, folds="norm,up-down,v-o,rotate")
    (made,) = prepare(make_checkpoint(), tmp_path / "out", settings, llama_cpp=llama_cpp)
    outcome = made.manifest.outcome
    assert outcome is not None
    assert outcome.held_out is not None
    kld = outcome.held_out.kld
    assert kld.keys() == {"plain", "folded", "rotated and folded"}
    assert outcome.chosen == min(kld, key=lambda name: kld[name])
    assert kld[outcome.chosen] < 0.7 * kld["plain"], "one loud channel of 64 is what smoothing is for"
    assert len({fold.alpha for fold in outcome.alphas}) > 1


def test_rotating_a_tied_head_tells_the_growth_first(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, small: PrepareSettings, llama_cpp: Path
) -> None:
    model = make_checkpoint(tied=True)
    settings = replace(small, folds="rotate")
    with pytest.raises(BadInput, match=r"q8_0 from \d+ to \d+ MB \(\d+% more\). Add --untie"):
        prepare(model, tmp_path / "out", settings, llama_cpp=llama_cpp)
    steps: list[str] = []
    (made,) = prepare(model, tmp_path / "out", replace(settings, untie=True), llama_cpp=llama_cpp, on_step=steps.append)
    assert "may get its own tensor: q8_0 from" in steps[0]
    assert made.manifest.outcome is not None
    assert made.manifest.outcome.chosen == "rotated and folded"
    norm = dequantised(made.path)["blk.0.attn_norm.weight"]
    assert np.allclose(norm, 1)


@pytest.mark.parametrize("where", ["deep/down", "out"])
def test_the_smoothed_checkpoint_is_saved_for_transformers(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, small: PrepareSettings, llama_cpp: Path, where: str
) -> None:
    model, saved = make_checkpoint(), tmp_path / where / "saved"
    prepare(model, tmp_path / "out", small, llama_cpp=llama_cpp, save_hf=saved)
    library: Any = transformers
    windows = torch.randint(3, 200, (1, 20), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before, after = (
            library.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)(input_ids=windows).logits
            for folder in (model, saved)
        )
    assert torch.allclose(before, after, atol=1e-3)
    assert not [file.name for file in saved.parent.iterdir() if file.name.startswith(".")]
    with pytest.raises(BadInput, match="something exists there"):
        prepare(model, tmp_path / "out", small, llama_cpp=llama_cpp, save_hf=saved)


def test_the_text_part_of_a_model_that_reads_images(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, small: PrepareSettings, llama_cpp: Path
) -> None:
    """Smoothed and proven as the language model that it is; what is saved for transformers is that model alone."""
    model, saved = make_checkpoint(architecture="MistralForCausalLM", tied=True), tmp_path / "saved"
    windows = torch.randint(3, 200, (1, 20), generator=torch.Generator().manual_seed(0))
    library: Any = transformers
    load = library.AutoModelForCausalLM.from_pretrained
    with torch.inference_mode():
        before = load(model, dtype=torch.float32)(input_ids=windows).logits
        reads_images("Mistral3ForConditionalGeneration", "mistral3")(model)
        settings = replace(small, folds="norm,up-down,v-o,rotate", untie=True)
        (made,) = prepare(model, tmp_path / "out", settings, llama_cpp=llama_cpp, save_hf=saved)
        after = load(saved, dtype=torch.float32)(input_ids=windows).logits
    assert torch.allclose(before, after, atol=1e-3)
    tensors = {tensor.name for tensor in GGUFReader(made.path).tensors}
    assert "output.weight" in tensors
    assert len(tensors) == 2 * 9 + 3


def test_plain_alone_needs_no_fold_and_no_text(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, llama_cpp: Path
) -> None:
    """Arcee, which llama.cpp's converter knows and the table of folds does not."""
    model, output = make_checkpoint(architecture="ArceeForCausalLM"), tmp_path / "out"
    with pytest.raises(BadInput, match=r"ArceeForCausalLM.*Known: .*LlamaForCausalLM.*--plain"):
        prepare(model, output, llama_cpp=llama_cpp)
    assert not output.exists()
    q4_0 = PrepareSettings(smooth=False, plain=True, types=("q4_0",))
    with pytest.raises(BadInput, match=r"plain-q4_0.*llama-quantize writes this type.*smoothdroid build --abi host"):
        prepare(model, output, q4_0, llama_cpp=llama_cpp)
    with pytest.raises(BadInput, match=r"ArceeForCausalLM: which of its tensors is the head is not known"):
        prepare(model, output, replace(q4_0, head="f16"), llama_cpp=llama_cpp)
    (plain,) = prepare(model, output, PrepareSettings(smooth=False, plain=True), llama_cpp=llama_cpp)
    assert plain.path.name == "tiny-plain-q8_0.gguf"
    assert plain.manifest.recipe.smoothing is None
    assert GGUFReader(plain.path).fields["general.architecture"].contents() == "arcee"


def test_a_limit_that_no_scale_passes_is_refused(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, small: PrepareSettings, llama_cpp: Path
) -> None:
    model = make_checkpoint(architecture="OlmoeForCausalLM", config={"clip_qkv": 8.0})
    with pytest.raises(BadInput, match=r"clip_qkv in its config\.json limits .* --plain converts it"):
        prepare(model, tmp_path / "out", small, llama_cpp=llama_cpp)
    assert not (tmp_path / "out").exists()


def test_types_are_read_from_a_list() -> None:
    assert parse_types("q8_0, F32,q8_0") == ("q8_0", "f32")
    for wrong in ("q6", "", "q8_0,"):
        with pytest.raises(BadInput, match=r"There are f32, f16, bf16, q8_0, q6_k, "):
            parse_types(wrong)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"alpha": "1.1"}, r"alpha is 1\.1"),
        ({"alpha": "-0.1"}, r"alpha is -0\.1"),
        ({"alpha": "nan"}, "alpha is nan"),
        ({"alpha": "up-down=0.5"}, "the folds are norm"),
        ({"alpha": "auto", "kernel": "mps"}, "'mps'. There are ggml, kleidiai"),
        ({"folds": "turn"}, "no fold 'turn'"),
        ({"n_samples": 0}, "at least 1 window"),
        ({"seq_len": 7}, "at least 8"),
        ({"seq_len": 257}, "tiny takes at most 256"),
        ({"seed": -1}, "seed -1"),
        ({"smooth": False}, "nothing to make"),
        ({"types": ()}, "No type"),
        ({"head": "q4_0"}, "--head q4_0: it is one of tied, q8_0, f16, q6_k"),
        ({"head": "tied"}, "its head is a tensor of its own"),
        ({"head": "tied", "untie": True}, "--untie parts them"),
        ({"folds": "norm,rotate", "untie": True, "imatrix": Path("x")}, "rotate mixes them"),
        ({"imatrix": Path("nowhere/x")}, "no folder"),
        ({"n_samples": 10_000}, r"prose\.txt.*tokens"),
        ({"device": "tpu"}, "it is one of auto, cpu, cuda"),
    ],
)
def test_wrong_settings_are_told_and_leave_nothing(
    make_checkpoint: MakeCheckpoint,
    tmp_path: Path,
    small: PrepareSettings,
    llama_cpp: Path,
    setting: dict[str, Any],
    says: str,
) -> None:
    with pytest.raises(BadInput, match=says):
        prepare(make_checkpoint(), tmp_path / "out", replace(small, **setting), llama_cpp=llama_cpp)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_where_there_is_none(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, small: PrepareSettings, llama_cpp: Path
) -> None:
    with pytest.raises(BadInput, match=r"cuda: .* sees no GPU here"):
        prepare(make_checkpoint(), tmp_path / "out", replace(small, device="cuda"), llama_cpp=llama_cpp)


@pytest.mark.fault(
    "a weight holds NaN or infinity",
    transport="workstation",
    outcome="refused, with the tensor's name and the number of such values",
)
@pytest.mark.parametrize(
    ("tensor", "smooth"), [("model.norm.weight", False), ("model.layers.1.mlp.up_proj.weight", True)]
)
def test_numbers_that_are_none_are_named(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, small: PrepareSettings, llama_cpp: Path, smooth: bool, tensor: str
) -> None:
    """By whoever reads them first: the pass over the layers, or the converter's process."""
    model = make_checkpoint()
    tensors = load_file(model / "model.safetensors")
    tensors[tensor].view(-1)[0] = torch.nan
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match=rf"{tensor} holds 1 values of \d+ that are no finite"):
        prepare(model, tmp_path / "out", replace(small, smooth=smooth, plain=not smooth), llama_cpp=llama_cpp)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.fault(
    "Ctrl-C while a model is prepared",
    transport="workstation",
    outcome="the output folder is as it was",
)
@pytest.mark.parametrize("at", ["smoothing", "writing"])
def test_an_interruption_leaves_what_was_there(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, small: PrepareSettings, llama_cpp: Path, at: str
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "mine.txt").write_text("kept")

    def interrupt(step: str) -> None:
        if step.startswith(at):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(make_checkpoint(), output, small, llama_cpp=llama_cpp, on_step=interrupt)
    assert [file.name for file in output.iterdir()] == ["mine.txt"]


@pytest.mark.fault(
    "prepare is killed while it works",
    transport="workstation",
    outcome="no file looks whole, nothing works on; the next call clears up and finishes",
)
def test_a_killed_preparation_leaves_no_file_that_looks_whole(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, prose: Path, llama_cpp: Path
) -> None:
    """kill -9 while it works; the next call clears up and finishes."""
    model, output = make_checkpoint(), tmp_path / "out"
    argv = [str(Path(sys.executable).with_name("smoothdroid")), "prepare", str(model), "-o", str(output)]
    argv += ["--calib", str(prose), "--n-samples", "4", "--seq-len", "32", "--no-plain", "--llama-cpp", str(llama_cpp)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "smoothing" in line:
                break
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(process.pid, signal.SIGKILL)
    eventually(lambda: not is_alive(int(child)), "it works on for nobody")
    assert not [file.name for file in output.iterdir() if not file.name.startswith(".")]
    (made,) = prepare(model, output, PrepareSettings(n_samples=4, seq_len=32, calib=prose), llama_cpp=llama_cpp)
    assert sorted(file.name for file in output.iterdir()) == [
        f"{made.path.name}{end}" for end in ("", ".changes", ".json")
    ]


def test_a_failed_conversion_leaves_its_log_alone(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    llama_cpp = tmp_path / "llama"
    llama_cpp.mkdir()
    (llama_cpp / "convert_hf_to_gguf.py").write_text("raise SystemExit('no such thing')")
    output = tmp_path / "out"
    with pytest.raises(SmoothdroidError, match="no such thing"):
        prepare(make_checkpoint(), output, PrepareSettings(smooth=False, plain=True), llama_cpp=llama_cpp)
    assert [file.name for file in output.iterdir()] == ["tiny-plain-q8_0.convert.log"]


def test_several_calibration_files_in_the_models_chat_template(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, prose: Path, llama_cpp: Path
) -> None:
    """Through the command line, which repeats the option; the manifest names both texts."""
    model, talk = make_checkpoint(), tmp_path / "talk.jsonl"
    (model / "chat_template.jinja").write_text("{% for message in messages %}[{{ message.content }}]{% endfor %}")
    talk.write_text(json.dumps({"messages": [{"role": "user", "content": prose.read_text()}]}))
    options = ["--no-plain", "--n-samples", "4", "--seq-len", "32", "--llama-cpp", str(llama_cpp), "--json"]
    options += ["--calib", str(prose), "--calib", str(talk), "--chat"]
    done = CliRunner().invoke(app, ["prepare", str(model), "-o", str(tmp_path / "out"), *options])
    assert done.exit_code == 0, done.output
    (made,) = json.loads(done.stdout)
    assert made["recipe"]["smoothing"]["calibration_text"] == "prose.txt, talk.jsonl"
