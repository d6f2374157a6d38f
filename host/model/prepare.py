"""Prepare a model for a phone: a checkpoint in, smoothed and plain GGUFs with their manifests out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.common.child_process import OnProgress
from smoothdroid.host.common.workspace import require_space, workspace
from smoothdroid.host.model.checkpoint.folder import Checkpoint, open_checkpoint
from smoothdroid.host.model.checkpoint.staging import changed_bytes
from smoothdroid.host.model.checkpoint.vocabulary import require_rows
from smoothdroid.host.model.convert.conversion import converter, converter_id
from smoothdroid.host.model.gguf_maker import GgufMaker
from smoothdroid.host.model.prepare_settings import (
    PrepareSettings,
    check_settings,
    require_q4_0_known,
    smoothings_of,
)
from smoothdroid.host.model.provenance.manifest import Manifest, Recipe, manifest_path, read_finished
from smoothdroid.host.model.recipes import METADATA_BYTES, gguf_bytes, growth, recipes_of
from smoothdroid.host.model.texts.prose import calibration_prose


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
    GGUF before it is published. `save_hf`: a folder to be made, for the smoothed checkpoint as transformers
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
    text = calibration_prose(settings.calib) if settings.smooth else None
    smoothings = smoothings_of(checkpoint, settings, text) if text else {}
    if save_hf and not settings.smooth:
        raise BadInput("--save-hf saves the smoothed checkpoint, and smoothing is switched off.")
    with workspace(output, f"{checkpoint.name}-prepare") as work, ExitStack() as stack:
        plain = settings.types if settings.plain else ()
        recipes = recipes_of(checkpoint, plain, smoothings, llama_cpp_id or converter_id(llama_cpp), on_progress)
        finished = {name: read_finished(output / name, recipe) for name, recipe in recipes.items()}
        missing = {name: recipe for name, recipe in recipes.items() if not finished[name]}
        _check_space(output, checkpoint, settings, list(missing.values()), save_hf)
        if any(recipe.smoothing and recipe.smoothing.untie for recipe in missing.values()):
            say(f"the head, tied to the embedding, may get its own tensor: {growth(checkpoint, settings.types)}")
        maker = GgufMaker(
            checkpoint, model, text, settings.device, llama_cpp, llama_bench, output, work, stack, say, on_progress
        )
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
    require_q4_0_known(checkpoint, settings)
    converter(llama_cpp)
    if note := require_rows(checkpoint):
        say(note)
    return checkpoint


def _check_space(
    output: Path, checkpoint: Checkpoint, settings: PrepareSettings, recipes: Sequence[Recipe], save_hf: Path | None
) -> None:
    """Raise BadInput where the disks have no room for the GGUFs and the saved checkpoint, or its folder exists."""
    needed = sum(
        gguf_bytes(checkpoint, recipe.quantisation, untied=settings.untie) + METADATA_BYTES for recipe in recipes
    )
    require_space(output, needed)
    if save_hf:
        folder = save_hf.expanduser().absolute()
        if folder.exists():
            raise BadInput(f"{folder}: something exists there. Remove it, or name another folder for --save-hf.")
        folder.parent.mkdir(parents=True, exist_ok=True)
        require_space(folder.parent, changed_bytes(checkpoint))
