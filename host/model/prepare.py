"""Prepare a model for a phone: a checkpoint in, smoothed and plain GGUFs with their manifests out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.host.common.child_process import OnProgress
from smoothdroid.host.common.workspace import require_space, workspace
from smoothdroid.host.gguf.file_types import FILE_TYPES
from smoothdroid.host.model.checkpoint.folder import Checkpoint, open_checkpoint
from smoothdroid.host.model.checkpoint.staging import changed_bytes
from smoothdroid.host.model.checkpoint.tensor_names import missing_advice
from smoothdroid.host.model.checkpoint.vocabulary import require_rows
from smoothdroid.host.model.convert.conversion import converter, converter_id
from smoothdroid.host.model.gguf_maker import GgufMaker
from smoothdroid.host.model.imatrix import read_imatrix
from smoothdroid.host.model.prepare_settings import (
    PrepareSettings,
    check_settings,
    no_smoothing,
    require_head_known,
    smoothings_of,
)
from smoothdroid.host.model.provenance.manifest import Manifest, Recipe, manifest_path, read_finished
from smoothdroid.host.model.recipes import METADATA_BYTES, gguf_bytes, growth, needs_quantiser, recipes_of
from smoothdroid.host.model.smoothquant.architectures import ARCHITECTURES, EMBEDDING
from smoothdroid.host.model.texts.calibration import calibration_texts


@dataclass(frozen=True)
class Prepared:
    """A finished GGUF. `reused`: it existed already, made by the same recipe."""

    path: Path
    manifest_path: Path
    manifest: Manifest
    reused: bool

    @property
    def sha256(self) -> str:
        """The GGUF's SHA-256 in hex."""
        return self.manifest.sha256

    @property
    def size_bytes(self) -> int:
        """The GGUF's size in bytes."""
        return self.manifest.size_bytes


def prepare(
    model: Path,
    output: Path,
    settings: PrepareSettings | None = None,
    *,
    llama_cpp: Path,
    llama_cpp_id: str | None = None,
    llama_bench: Path | None = None,
    llama_quantize: Path | None = None,
    save_hf: Path | None = None,
    on_step: Callable[[str], None] | None = None,
    on_progress: OnProgress | None = None,
) -> list[Prepared]:
    """Write `output`/NAME-smooth-TYPE.gguf and, if requested, NAME-plain-TYPE.gguf of the checkpoint `model`.

    NAME is the name of the folder `model`, or of the repository where it lies in the hub's cache. Each GGUF has a
    manifest beside it, NAME-....gguf.json. A file that exists already and was made by the same recipe is left as
    it is; one made by another is replaced.

    `llama_cpp`: a llama.cpp source tree; `llama_cpp_id` names it in the manifest (without it, a hash of the
    converter's files does). `llama_bench`: that llama.cpp's llama-bench for this machine, which loads and runs each
    GGUF before it is published; `llama_quantize`: its llama-quantize, which writes the types that the converter does
    not. `save_hf`: a folder to be made, for the smoothed checkpoint as transformers
    loads it. `on_progress` gets (what, done, total).

    The plain GGUF alone can be made of every architecture that the converter knows.

    Raises BadInput where the model, a setting or the text is wrong, the disk is too full or llama.cpp cannot hold the
    model, SmoothdroidError where the smoothed model is not the same function as the original, the converter fails or
    llama.cpp does not load what it wrote.
    """
    say = on_step or (lambda _step: None)
    settings = settings or PrepareSettings()
    checkpoint = _checked(model, settings, llama_cpp, say)
    output = output.expanduser().absolute()
    imatrix = _imatrix(settings, say)
    measures = imatrix is not None and not imatrix.exists()
    reads = settings.smooth or measures
    texts = calibration_texts(settings.calib, checkpoint, chat=settings.chat) if reads else ()
    smoothings = smoothings_of(checkpoint, settings, texts) if texts and settings.smooth else {}
    if save_hf and not settings.smooth:
        raise BadInput("--save-hf saves the smoothed checkpoint, and smoothing is switched off.")
    with workspace(output, f"{checkpoint.name}-prepare") as work, ExitStack() as stack:
        maker = GgufMaker(
            checkpoint=checkpoint,
            model=model,
            texts=texts,
            device=settings.device,
            llama_cpp=llama_cpp,
            llama_bench=llama_bench,
            llama_quantize=llama_quantize,
            imatrix=imatrix,
            head=settings.head,
            output=output,
            work=work,
            stack=stack,
            say=say,
            on_progress=on_progress,
        )
        if imatrix and measures:
            maker.measure(next(iter(smoothings.values()), None) or no_smoothing(checkpoint, settings, texts), imatrix)
        recipes = recipes_of(
            checkpoint,
            settings.types if settings.plain else (),
            smoothings,
            llama_cpp_id or converter_id(llama_cpp),
            on_progress,
            head=settings.head,
            imatrix_sha256=sha256_of(imatrix) if imatrix else None,
        )
        finished = {name: read_finished(output / name, recipe) for name, recipe in recipes.items()}
        missing = {name: recipe for name, recipe in recipes.items() if not finished[name]}
        _require_quantiser(missing, llama_quantize)
        _check_space(output, checkpoint, settings, list(missing.values()), save_hf)
        if any(recipe.smoothing and recipe.smoothing.untie for recipe in missing.values()):
            grown = growth(checkpoint, settings.types, settings.head)
            say(f"the head, tied to the embedding, may get its own tensor: {grown}")
        if save_hf:
            maker.save_hf(next(iter(smoothings.values())), save_hf.expanduser().absolute())
        for name, recipe in recipes.items():
            if name in missing:
                finished[name] = maker.make(name, recipe)
            else:
                say(f"{name} exists already, made from this model with these settings")
    return [
        Prepared(output / name, manifest_path(output / name), manifest, reused=name not in missing)
        for name, manifest in finished.items()
        if manifest
    ]


def _checked(model: Path, settings: PrepareSettings, llama_cpp: Path, say: Callable[[str], None]) -> Checkpoint:
    """Return the checkpoint in `model`, after checking everything that takes no time."""
    check_settings(settings)
    checkpoint = open_checkpoint(model)
    embedding = f"{EMBEDDING}.weight"
    if checkpoint.architecture in ARCHITECTURES and embedding not in checkpoint.tensors:
        raise BadInput(f"{model}: {missing_advice(embedding, checkpoint.tensors)}")
    require_head_known(checkpoint, settings)
    converter(llama_cpp)
    if note := require_rows(checkpoint):
        say(note)
    return checkpoint


def _imatrix(settings: PrepareSettings, say: Callable[[str], None]) -> Path | None:
    """Return the file of the importance matrix, read once if it is there: a damaged one is refused before any work."""
    if not settings.imatrix:
        return None
    file = settings.imatrix.expanduser().absolute()
    if file.exists():
        read_imatrix(file)
    elif not file.parent.is_dir():
        raise BadInput(f"--imatrix {settings.imatrix}: there is no folder {file.parent} to write it to.")
    if not any(FILE_TYPES[file_type].rounds_by_importance for file_type in settings.types):
        say(f"llama.cpp rounds {', '.join(settings.types)} without an importance matrix, so no file makes use of it")
    return file


def _require_quantiser(recipes: Mapping[str, Recipe], llama_quantize: Path | None) -> None:
    """Raise BadInput where a file is to be written by llama-quantize, and there is none."""
    if llama_quantize:
        return
    for name, recipe in recipes.items():
        if needs_quantiser(recipe):
            head = f" with its head as {recipe.head}" if recipe.head else ""
            raise BadInput(
                f"{name}: llama-quantize writes this type{head}, and llama.cpp has not been built for this machine: "
                "`smoothdroid build --abi host`"
            )


def _check_space(
    output: Path, checkpoint: Checkpoint, settings: PrepareSettings, recipes: Sequence[Recipe], save_hf: Path | None
) -> None:
    """Raise BadInput where the disks have no room for the GGUFs and the saved checkpoint, or its folder exists."""
    needed = sum(
        gguf_bytes(checkpoint, recipe.quantisation, recipe.head, untied=settings.untie) + METADATA_BYTES
        for recipe in recipes
    )
    if any(needs_quantiser(recipe) for recipe in recipes):  # one file in float32 at a time
        needed += gguf_bytes(checkpoint, "f32", "f32", untied=settings.untie) + METADATA_BYTES
    require_space(output, needed)
    if save_hf:
        folder = save_hf.expanduser().absolute()
        if folder.exists():
            raise BadInput(f"{folder}: something exists there. Remove it, or name another folder for --save-hf.")
        folder.parent.mkdir(parents=True, exist_ok=True)
        require_space(folder.parent, changed_bytes(checkpoint))
