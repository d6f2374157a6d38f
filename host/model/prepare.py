"""Prepare a model for a phone: a checkpoint in, smoothed Q8_0 GGUFs with their manifests out."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from gguf import GGUFReader

from device.errors import BadInput
from host.model.checkpoint import Checkpoint, hash_files, open_checkpoint
from host.model.convert import converter, converter_id, to_gguf
from host.model.fold_checkpoint import fold_checkpoint
from host.model.folds import Fold, expand, folds_of
from host.model.manifest import Equivalence, Manifest, Recipe, Smoothing, Source, manifest_path, read_finished
from host.model.prose import Prose, calibration_prose
from host.model.staging import folded_bytes, stage
from host.model.workspace import publish, require_space, workspace
from host.pypi import sha256_of

OUTTYPE = "q8_0"
Q8_0_BITS = 8.5  # 32 weights of 8 bits and one float16 scale

# What a GGUF has besides its weights: the vocabulary above all (5 MB for 150,000 tokens), and norms in float32.
METADATA_BYTES = 16_000_000

# A window of fewer tokens has no context to speak of, and a BOS token may take the first place.
MIN_SEQ_LEN = 8

SEEDS = range(2**63)  # what torch.Generator takes


@dataclass(frozen=True)
class Prepared:
    """A finished GGUF. `reused`: it was there already, made by the same recipe."""

    path: Path
    manifest_path: Path
    manifest: Manifest
    reused: bool

    @property
    def sha256(self) -> str:
        return self.manifest.sha256

    @property
    def size_bytes(self) -> int:
        return self.manifest.size_bytes


def prepare(
    model: Path,
    output: Path,
    *,
    llama_cpp: Path,
    llama_cpp_id: str | None = None,
    alpha: float = 0.5,
    n_samples: int = 16,
    seq_len: int = 512,
    calib: Path | None = None,
    smooth: bool = True,
    plain: bool = False,
    seed: int = 0,
    on_step: Callable[[str], None] | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> list[Prepared]:
    """Write `output`/NAME-smooth-q8_0.gguf and, with `plain`, NAME-plain-q8_0.gguf of the checkpoint `model`.

    NAME is the name of the folder `model`. Each GGUF has a manifest beside it, NAME-....gguf.json. A file that
    stands there already and was made by the same recipe is left as it is; one made by another is replaced.

    `llama_cpp`: a llama.cpp source tree; `llama_cpp_id` names it in the manifest (without it, a hash of the
    converter's files does). `alpha` (0 to 1), `n_samples`, `seq_len` (tokens), `calib` (a UTF-8 text) and `seed`
    are SmoothQuant's strength and its calibration. `on_progress` gets (what, done, total).

    Raises BadInput where the model, a setting or the text is wrong or the disk is too full, SmoothdroidError
    where the smoothed model is not the same function as the original or the converter fails.
    """
    say = on_step or (lambda _step: None)
    _check_settings(alpha=alpha, n_samples=n_samples, seq_len=seq_len, seed=seed, smooth=smooth, plain=plain)
    checkpoint = open_checkpoint(model)
    converter(llama_cpp)
    output = output.expanduser().absolute()
    smoothing, text = None, None
    if smooth:
        _check_window(checkpoint, seq_len)
        folded_bytes(checkpoint, _folds(checkpoint))  # every tensor of every fold is there
        text = calibration_prose(calib)
        smoothing = Smoothing(
            alpha=alpha,
            n_samples=n_samples,
            seq_len=seq_len,
            seed=seed,
            calibration_text=text.name,
            calibration_sha256=text.sha256,
            folds=tuple(map(str, folds_of(checkpoint.architecture))),
        )

    with workspace(output, f"{checkpoint.name}-prepare") as work:
        recipes = _recipes(
            checkpoint,
            smoothing,
            plain=plain,
            llama_cpp=llama_cpp_id or converter_id(llama_cpp),
            on_progress=on_progress,
        )
        finished = {name: read_finished(output / name, recipe) for name, recipe in recipes.items()}
        _check_space(output, checkpoint, [recipe for name, recipe in recipes.items() if not finished[name]])
        prepared: list[Prepared] = []
        for name, recipe in recipes.items():
            manifest = finished[name]
            if manifest:
                say(f"{name} is there already, made from this model with these settings")
            else:
                make = work / name
                make.mkdir()
                manifest = _make(output / name, checkpoint, recipe, text, llama_cpp, make, say, on_progress)
                shutil.rmtree(make)  # before the next one needs the space
            prepared.append(
                Prepared(output / name, manifest_path(output / name), manifest, reused=finished[name] is not None)
            )
    return prepared


def _recipes(
    checkpoint: Checkpoint,
    smoothing: Smoothing | None,
    *,
    plain: bool,
    llama_cpp: str,
    on_progress: Callable[[str, int, int], None] | None,
) -> dict[str, Recipe]:
    """File name -> recipe of what is asked for."""
    recipe = Recipe(
        source=Source(
            name=checkpoint.name,
            weights_sha256=hash_files(checkpoint.weight_files, on_progress),
            companions_sha256=hash_files(checkpoint.companion_files),
        ),
        architecture=checkpoint.architecture,
        quantisation=OUTTYPE,
        llama_cpp=llama_cpp,
        smoothing=None,
    )
    recipes: dict[str, Recipe] = {}
    if smoothing:
        recipes[f"{checkpoint.name}-smooth-{OUTTYPE}.gguf"] = recipe.model_copy(update={"smoothing": smoothing})
    if plain:
        recipes[f"{checkpoint.name}-plain-{OUTTYPE}.gguf"] = recipe
    return recipes


def _make(
    path: Path,
    checkpoint: Checkpoint,
    recipe: Recipe,
    text: Prose | None,
    llama_cpp: Path,
    work: Path,
    say: Callable[[str], None],
    on_progress: Callable[[str, int, int], None] | None,
) -> Manifest:
    """Make one GGUF and its manifest by way of the empty folder `work`."""
    # The converter derives general.* metadata from the folder's name, so each copy bears the model's.
    (work / "original").mkdir()
    converted = stage(checkpoint, work / "original" / checkpoint.name)
    equivalence = None
    if recipe.smoothing and text:
        (work / "folded").mkdir()
        converted, equivalence = fold_checkpoint(
            checkpoint,
            converted,
            work / "folded" / checkpoint.name,
            folds=_folds(checkpoint),
            settings=recipe.smoothing,
            text=text,
            say=say,
            on_progress=on_progress,
        )
    say(f"converting to {path.name}")
    partial = work / path.name
    name = f"{checkpoint.name} smooth" if recipe.smoothing else checkpoint.name
    to_gguf(converted, partial, OUTTYPE, llama_cpp, name=name, log=path.with_suffix(".convert.log"))
    manifest = _describe(partial, recipe, equivalence)

    # The old manifest goes first and the new one comes last: at no time does one stand beside another's GGUF.
    record = manifest_path(path)
    record.unlink(missing_ok=True)
    publish(partial, path)
    partial_record = work / record.name
    partial_record.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    publish(partial_record, record)
    return manifest


def _describe(gguf: Path, recipe: Recipe, equivalence: Equivalence | None) -> Manifest:
    tensors = GGUFReader(gguf).tensors
    n_parameters = sum(int(tensor.n_elements) for tensor in tensors)
    return Manifest(
        file=gguf.name,
        sha256=sha256_of(gguf),
        size_bytes=gguf.stat().st_size,
        n_parameters=n_parameters,
        bits_per_weight=sum(int(tensor.n_bytes) for tensor in tensors) * 8 / n_parameters,
        recipe=recipe,
        equivalence=equivalence,
        versions={
            "python": platform.python_version(),
            **{package: _version(package) for package in ("smoothdroid", "torch", "transformers", "gguf")},
        },
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"  # smoothdroid itself, where it is run from its source tree


def _check_settings(*, alpha: float, n_samples: int, seq_len: int, seed: int, smooth: bool, plain: bool) -> None:
    if not smooth and not plain:
        raise BadInput("Neither the smoothed nor the plain GGUF is asked for, so there is nothing to make.")
    if not 0 <= alpha <= 1:
        raise BadInput(f"alpha is {alpha:g}; it must be from 0 (all into the activations) to 1 (all into the weights).")
    if n_samples < 1:
        raise BadInput(f"{n_samples} samples: at least 1 window of text is needed to calibrate on.")
    if seq_len < MIN_SEQ_LEN:
        raise BadInput(f"{seq_len} tokens a window: at least {MIN_SEQ_LEN} are needed.")
    if seed not in SEEDS:
        raise BadInput(f"seed {seed}: it must be from 0 to {SEEDS[-1]}.")


def _folds(checkpoint: Checkpoint) -> tuple[Fold, ...]:
    """The checkpoint's folds, layer by layer. Raises BadInput where its architecture or its config is not fit."""
    per_layer = folds_of(checkpoint.architecture)
    n_layers = checkpoint.config.get("num_hidden_layers")
    # Every layer has tensors: a larger number would have us list layers until the memory is full.
    if type(n_layers) is not int or not 1 <= n_layers <= len(checkpoint.tensors):
        raise BadInput(
            f"{checkpoint.path / 'config.json'}: num_hidden_layers is {n_layers!r}, which does not fit the "
            f"{len(checkpoint.tensors)} tensors in the weight files."
        )
    return expand(per_layer, n_layers)


def _check_window(checkpoint: Checkpoint, seq_len: int) -> None:
    longest = checkpoint.config.get("max_position_embeddings")
    if isinstance(longest, int) and seq_len > longest:
        raise BadInput(f"{seq_len} tokens a window, and {checkpoint.name} takes at most {longest}: give a shorter one.")


def _check_space(output: Path, checkpoint: Checkpoint, recipes: list[Recipe]) -> None:
    gguf_bytes = int(checkpoint.n_parameters * Q8_0_BITS / 8) + METADATA_BYTES
    smooth = any(recipe.smoothing for recipe in recipes)
    require_space(output, len(recipes) * gguf_bytes + (folded_bytes(checkpoint, _folds(checkpoint)) if smooth else 0))
