"""Prepare a model for a phone: a checkpoint in, smoothed and plain GGUFs with their manifests out."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import get_args

from smoothdroid.device.common.atomic_file import publish
from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.host.common.child_process import OnProgress
from smoothdroid.host.common.workspace import require_space, workspace
from smoothdroid.host.gguf.reader import GgufFile
from smoothdroid.host.model.checkpoint.folder import Checkpoint, hash_files, open_checkpoint
from smoothdroid.host.model.checkpoint.staging import changed_bytes, stage, staging_folder
from smoothdroid.host.model.checkpoint.vocabulary import require_rows
from smoothdroid.host.model.convert.conversion import converter, converter_id, to_gguf
from smoothdroid.host.model.convert.loading import require_loads
from smoothdroid.host.model.provenance.manifest import (
    METADATA_KEY,
    PREPARATION_VERSION,
    AutoAlpha,
    Kernel,
    Manifest,
    Provenance,
    Quantisation,
    Recipe,
    Smoothing,
    SmoothingOutcome,
    SourceCheckpoint,
    manifest_path,
    read_finished,
)
from smoothdroid.host.model.smoothing import SmoothJob, smooth
from smoothdroid.host.model.smoothquant.architectures import ARCHITECTURES, EMBEDDING, HEAD, architecture_of
from smoothdroid.host.model.smoothquant.folds import alphas_of, parse_folds, require_rotatable
from smoothdroid.host.model.texts.prose import Prose, calibration_prose

QUANTISATIONS: tuple[Quantisation, ...] = get_args(Quantisation)
KERNELS: tuple[Kernel, ...] = get_args(Kernel)
DEVICES = ("auto", "cpu", "cuda")

# Of a weight, its part of the block's scale included.
BITS: Mapping[Quantisation, float] = {"f32": 32, "f16": 16, "q8_0": 8.5, "q4_0": 4.5}

# What a GGUF has besides its weights: the vocabulary above all (5 MB for 150,000 tokens), and norms in float32.
METADATA_BYTES = 16_000_000

# A window of fewer tokens has no context to speak of, and a BOS token may take the first place.
MIN_SEQ_LEN = 8

SEEDS = range(2**63)  # what torch.Generator takes

# What is folded where the user does not say: the paper's, and all that is exact where strengths are measured anyway.
DEFAULT_FOLDS, DEFAULT_AUTO_FOLDS = "norm", "norm,up-down,v-o"


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


@dataclass(frozen=True)
class PrepareSettings:
    """What the user asks for; the defaults are the paper's.

    `alpha`: a number from 0 to 1 for every fold, one for each (`norm=0.5,up-down=0.3`), or `auto`, which measures on
    the arithmetic of `kernel`. `folds`: some of norm, up-down, v-o, rotate. `untie` allows a tied head a tensor of
    its own, which rotate needs. `n_samples` windows of `seq_len` tokens of the UTF-8 text `calib` are calibrated on.
    """

    types: Sequence[Quantisation] = ("q8_0",)
    smooth: bool = True
    plain: bool = False
    alpha: str | float = 0.5
    folds: str | None = None
    kernel: str = "ggml"
    untie: bool = False
    n_samples: int = 16
    seq_len: int = 512
    calib: Path | None = None
    seed: int = 0
    device: str = "auto"


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
    """Write `output`/NAME-smooth-TYPE.gguf and, if asked for, NAME-plain-TYPE.gguf of the checkpoint `model`.

    NAME is the name of the folder `model`, or of the repository where it lies in the hub's cache. Each GGUF has a
    manifest beside it, NAME-....gguf.json. A file that stands there already and was made by the same recipe is left as
    it is; one made by another is replaced.

    `llama_cpp`: a llama.cpp source tree; `llama_cpp_id` names it in the manifest (without it, a hash of the
    converter's files does). `llama_bench`: that llama.cpp's llama-bench for this machine, which loads and runs each
    GGUF before it is put in its place. `save_hf`: a folder to be made, for the smoothed checkpoint as transformers
    loads it. `on_progress` gets (what, done, total).

    The plain GGUF alone can be made of every architecture that the converter knows.

    Raises BadInput where the model, a setting or the text is wrong, the disk is too full or llama.cpp cannot hold the
    model, SmoothdroidError where the smoothed model is not the same function as the original, the converter fails or
    llama.cpp does not load what it wrote.
    """
    say = on_step or (lambda _step: None)
    settings = settings or PrepareSettings()
    _check_settings(settings)
    checkpoint = open_checkpoint(model)
    if "q4_0" in settings.types and checkpoint.architecture not in ARCHITECTURES:
        raise BadInput(
            f"{checkpoint.architecture}: which of its tensors must not be Q4_0 is not known here, and q8_0 can be had. "
            f"Q4_0 is written of {', '.join(sorted(ARCHITECTURES))}."
        )
    converter(llama_cpp)
    if note := require_rows(checkpoint):
        say(note)
    output = output.expanduser().absolute()
    text = calibration_prose(settings.calib) if settings.smooth else None
    smoothings = _smoothings(checkpoint, settings, text) if text else {}
    if save_hf and not settings.smooth:
        raise BadInput("--save-hf saves the smoothed checkpoint, and none is asked for.")

    with workspace(output, f"{checkpoint.name}-prepare") as work, ExitStack() as held:
        recipes = _recipes(checkpoint, settings, smoothings, llama_cpp_id or converter_id(llama_cpp), on_progress)
        finished = {name: read_finished(output / name, recipe) for name, recipe in recipes.items()}
        missing = {name: recipe for name, recipe in recipes.items() if not finished[name]}
        _check_space(output, checkpoint, settings, list(missing.values()), save_hf)
        if any(recipe.smoothing and recipe.smoothing.untie for recipe in missing.values()):
            say(f"the head, tied to the embedding, may get a tensor of its own: {_growth(checkpoint, settings)}")
        load = partial(require_loads, tool=llama_bench) if llama_bench else None
        maker = _Maker(checkpoint, model, settings, text, llama_cpp, load, output, work, held, say, on_progress)
        if save_hf:
            folder = save_hf.expanduser().absolute()
            # In a workspace of its own, unless the one that is held is beside it already.
            beside = nullcontext(work) if folder.parent == output else workspace(folder.parent, f"{folder.name}-save")
            with beside as saving:
                maker.smooth(next(iter(smoothings.values())), saving / folder.name)
                (saving / folder.name).rename(folder)
        for name, recipe in recipes.items():
            if name in missing:
                finished[name] = maker.make(name, recipe)
            else:
                say(f"{name} is there already, made from this model with these settings")
    return [
        Prepared(output / name, manifest_path(output / name), manifest, reused=name not in missing)
        for name, manifest in finished.items()
        if manifest
    ]


class _Maker:
    """Makes GGUFs of one checkpoint, one after the other. The same smoothing is computed once."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        shown: Path,
        settings: PrepareSettings,
        text: Prose | None,
        llama_cpp: Path,
        load: Callable[[Path, Path], None] | None,
        output: Path,
        work: Path,
        held: ExitStack,
        say: Callable[[str], None],
        on_progress: OnProgress | None,
    ) -> None:
        self._checkpoint, self._shown, self._settings, self._text = checkpoint, shown, settings, text
        self._llama_cpp, self._load, self._output, self._work = llama_cpp, load, output, work
        self._held, self._say, self._on_progress = held, say, on_progress
        self._staging: dict[bool, Path] = {}
        self._smoothed: dict[str, tuple[Path, SmoothingOutcome]] = {}

    def make(self, name: str, recipe: Recipe) -> Manifest:
        """Make one GGUF and its manifest."""
        changes, outcome = self.smooth(recipe.smoothing) if recipe.smoothing else (None, None)
        path, partial = self._output / name, self._work / name
        untied = outcome is not None and outcome.untied
        self._say(f"writing {name}")
        provenance = Provenance(recipe=recipe, outcome=outcome, versions=versions())
        to_gguf(
            self._staged(untied=untied),
            partial,
            recipe.quantisation,
            self._llama_cpp,
            name=f"{self._checkpoint.name} smooth" if recipe.smoothing else self._checkpoint.name,
            log=path.with_suffix(".convert.log"),
            changes=changes,
            metadata={METADATA_KEY: provenance.model_dump_json()},
            expected_bytes=gguf_bytes(self._checkpoint, recipe.quantisation, untied=untied),
            shown=self._shown,
            on_step=None if self._settings.smooth else self._say,  # the smoothing's process has said it
            on_progress=self._on_progress,
        )
        if self._load:
            self._load(partial, path.with_suffix(".load.log"))
        manifest = _describe(partial, provenance)
        # The old manifest goes first and the new one comes last: at no time does one stand beside another's GGUF.
        record = manifest_path(path)
        record.unlink(missing_ok=True)
        publish(partial, path)
        partial_record = self._work / record.name
        partial_record.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        publish(partial_record, record)
        return manifest

    def smooth(self, smoothing: Smoothing, save_hf: Path | None = None) -> tuple[Path, SmoothingOutcome]:
        """(the file of changes, what it came to), computed where it has not been."""
        key = smoothing.model_dump_json()
        if self._text and (key not in self._smoothed or save_hf):
            number = len(self._smoothed)
            job = SmoothJob(
                events=self._work / f"smooth-{number}.events",
                checkpoint=self._staged(untied=False),
                shown=self._shown,
                llama_cpp=self._llama_cpp,
                settings=smoothing,
                text_name=self._text.name,
                text=self._text.content,
                device=self._settings.device,
                changes=self._work / f"smooth-{number}.changes",
                outcome=self._work / f"smooth-{number}.outcome",
                save_hf=save_hf,
            )
            log = self._output / f"{self._checkpoint.name}-smooth.log"
            self._smoothed[key] = job.changes, smooth(job, log, on_step=self._say, on_progress=self._on_progress)
        return self._smoothed[key]

    def _staged(self, *, untied: bool) -> Path:
        # The converter derives general.* metadata from the folder's name, so each copy bears the model's.
        if untied not in self._staging:
            wanted = self._work / ("untied" if untied else "original")
            parent = self._held.enter_context(staging_folder(self._checkpoint, wanted))
            self._staging[untied] = stage(self._checkpoint, parent / self._checkpoint.name, untied=untied)
        return self._staging[untied]


def parse_types(text: str) -> tuple[Quantisation, ...]:
    """`q8_0,f32` -> the types, each once. Raises BadInput for one that is not known."""
    types: list[Quantisation] = []
    for name in text.split(","):
        known = next((each for each in QUANTISATIONS if each == name.strip().lower()), None)
        if known is None:
            raise BadInput(f"--type {text}: there is no type {name.strip()!r}. There are {', '.join(QUANTISATIONS)}.")
        types.append(known)
    return tuple(dict.fromkeys(types))


def gguf_bytes(checkpoint: Checkpoint, quantisation: Quantisation, *, untied: bool) -> int:
    """About the size of the GGUF."""
    return int((checkpoint.n_parameters + (_head_elements(checkpoint) if untied else 0)) * BITS[quantisation] / 8)


def _head_elements(checkpoint: Checkpoint) -> int:
    return checkpoint.tensors[f"{EMBEDDING}.weight"].n_elements


def _smoothings(checkpoint: Checkpoint, settings: PrepareSettings, text: Prose) -> dict[Quantisation, Smoothing]:
    """For each type the smoothing that is asked for. Raises BadInput where it does not suit the checkpoint."""
    auto = settings.alpha == "auto"
    kinds, rotate = parse_folds(settings.folds or (DEFAULT_AUTO_FOLDS if auto else DEFAULT_FOLDS))
    architecture_of(checkpoint.architecture)
    _require_own_head(checkpoint, settings, rotate=rotate)
    if rotate:
        require_rotatable(checkpoint.architecture)
        _require_untie(checkpoint, settings)
    _check_window(checkpoint, settings.seq_len)
    alphas = {} if auto else alphas_of(kinds, settings.alpha)
    return {
        quantisation: Smoothing(
            alpha=AutoAlpha(kernel=settings.kernel, quantisation=_measured_as(quantisation)) if auto else alphas,
            folds=kinds,
            rotate=rotate,
            untie=settings.untie and _is_tied(checkpoint),
            n_samples=settings.n_samples,
            seq_len=settings.seq_len,
            seed=settings.seed,
            calibration_text=text.name,
            calibration_sha256=text.sha256,
        )
        for quantisation in settings.types
    }


def _measured_as(quantisation: Quantisation) -> str:
    """The quantisation whose losses strengths are chosen by: f32 and f16 are to be quantised later, to Q8_0."""
    return quantisation if quantisation in ("q8_0", "q4_0") else "q8_0"


def _require_own_head(checkpoint: Checkpoint, settings: PrepareSettings, *, rotate: bool) -> None:
    if (rotate or settings.untie) and not architecture_of(checkpoint.architecture).own_head:
        raise BadInput(
            f"{checkpoint.architecture}: llama.cpp's graph of it multiplies by the embedding, so the head cannot have "
            "a tensor of its own. Leave out --untie, and rotate from --folds."
        )


def _require_untie(checkpoint: Checkpoint, settings: PrepareSettings) -> None:
    if not settings.untie and _is_tied(checkpoint):
        raise BadInput(
            f"{checkpoint.name}: its head is tied to the embedding, and rotate gives it a tensor of its own: "
            f"{_growth(checkpoint, settings)}. Say --untie if that is worth it, or leave rotate out of --folds."
        )


def _is_tied(checkpoint: Checkpoint) -> bool:
    return f"{HEAD}.weight" not in checkpoint.tensors


def _growth(checkpoint: Checkpoint, settings: PrepareSettings) -> str:
    """What a head of its own adds: `q8_0 from 145 to 175 MB (21% more)`."""
    return ", ".join(
        f"{name} from {before / 1e6:.0f} to {after / 1e6:.0f} MB ({after / before - 1:.0%} more)"
        for name in settings.types
        for before, after in [[gguf_bytes(checkpoint, name, untied=untied) for untied in (False, True)]]
    )


def _recipes(
    checkpoint: Checkpoint,
    settings: PrepareSettings,
    smoothings: Mapping[Quantisation, Smoothing],
    llama_cpp: str,
    on_progress: OnProgress | None,
) -> dict[str, Recipe]:
    """File name -> recipe of what is asked for."""
    source = SourceCheckpoint(
        name=checkpoint.name,
        revision=checkpoint.revision,
        weights_sha256=hash_files(checkpoint.weight_files, on_progress),
        companions_sha256=hash_files(checkpoint.companion_files),
    )
    recipes: dict[str, Recipe] = {}
    for variant, wanted in (("smooth", settings.smooth), ("plain", settings.plain)):
        for quantisation in settings.types if wanted else ():
            recipes[f"{checkpoint.name}-{variant}-{quantisation}.gguf"] = Recipe(
                preparation=PREPARATION_VERSION,
                source=source,
                architecture=checkpoint.architecture,
                quantisation=quantisation,
                llama_cpp=llama_cpp,
                smoothing=smoothings[quantisation] if variant == "smooth" else None,
            )
    return recipes


def _describe(gguf: Path, provenance: Provenance) -> Manifest:
    written = GgufFile(gguf)
    return Manifest(
        **{name: getattr(provenance, name) for name in Provenance.model_fields},
        file=gguf.name,
        sha256=sha256_of(gguf),
        size_bytes=gguf.stat().st_size,
        n_parameters=written.n_parameters,
        bits_per_weight=written.bits_per_weight,
    )


def versions() -> dict[str, str]:
    """What a GGUF was made with."""
    return {
        "python": platform.python_version(),
        **{package: _version(package) for package in ("smoothdroid", "torch", "transformers", "gguf")},
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"  # smoothdroid itself, where it is run from its source tree


def _check_settings(settings: PrepareSettings) -> None:
    if not settings.smooth and not settings.plain:
        raise BadInput("Neither the smoothed nor the plain GGUF is asked for, so there is nothing to make.")
    if not settings.types:
        raise BadInput(f"No type is asked for. There are {', '.join(QUANTISATIONS)}.")
    if settings.device not in DEVICES:
        raise BadInput(f"device {settings.device!r}: it is one of {', '.join(DEVICES)}.")
    if settings.kernel not in KERNELS:
        raise BadInput(f"No kernel is called {settings.kernel!r}. There are {', '.join(KERNELS)}.")
    if settings.n_samples < 1:
        raise BadInput(f"{settings.n_samples} samples: at least 1 window of text is needed to calibrate on.")
    if settings.seq_len < MIN_SEQ_LEN:
        raise BadInput(f"{settings.seq_len} tokens a window: at least {MIN_SEQ_LEN} are needed.")
    if settings.seed not in SEEDS:
        raise BadInput(f"seed {settings.seed}: it must be from 0 to {SEEDS[-1]}.")


def _check_window(checkpoint: Checkpoint, seq_len: int) -> None:
    longest = checkpoint.config.get("max_position_embeddings")
    if isinstance(longest, int) and seq_len > longest:
        raise BadInput(f"{seq_len} tokens a window, and {checkpoint.name} takes at most {longest}: give a shorter one.")


def _check_space(
    output: Path, checkpoint: Checkpoint, settings: PrepareSettings, recipes: Sequence[Recipe], save_hf: Path | None
) -> None:
    needed = sum(
        gguf_bytes(checkpoint, recipe.quantisation, untied=settings.untie) + METADATA_BYTES for recipe in recipes
    )
    require_space(output, needed)
    if save_hf:
        folder = save_hf.expanduser().absolute()
        if folder.exists():
            raise BadInput(f"{folder}: there is something there. Remove it, or name another folder for --save-hf.")
        folder.parent.mkdir(parents=True, exist_ok=True)
        require_space(folder.parent, changed_bytes(checkpoint))
