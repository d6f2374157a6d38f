"""The settings of `prepare`, checked by themselves and against a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.gguf.file_types import FILE_TYPES, FLOATS, HEADS, emulated
from smoothdroid.host.model.checkpoint.folder import Checkpoint
from smoothdroid.host.model.provenance.manifest import AutoAlpha, Kernel, Smoothing
from smoothdroid.host.model.recipes import growth, is_tied, type_of_head
from smoothdroid.host.model.smoothquant.architectures import ARCHITECTURES, HEAD, architecture_of
from smoothdroid.host.model.smoothquant.folds import alphas_of, parse_folds, require_rotatable
from smoothdroid.host.model.texts.prose import Prose, names_of, sha256_of_texts

KERNELS: tuple[Kernel, ...] = get_args(Kernel)
DEVICES = ("auto", "cpu", "cuda")

# A window of fewer tokens has next to no context, and a BOS token may take the first place.
MIN_SEQ_LEN = 8

SEEDS = range(2**63)  # the seeds that torch.Generator accepts

# The default folds: the paper's, and with --alpha auto, which measures whether a fold helps, every exact fold.
DEFAULT_FOLDS, DEFAULT_AUTO_FOLDS = "norm", "norm,up-down,v-o"


@dataclass(frozen=True)
class PrepareSettings:
    """The user's settings of a preparation; the defaults are the SmoothQuant paper's.

    `types`: some of `file_types.FILE_TYPES`. `head`: one of `file_types.HEADS`, by default the type that llama-quantize
    gives the head. `imatrix`: the file of an importance matrix of the model before smoothing, to round by; where there
    is none, it is measured on the calibration texts and written. `alpha`: a number from 0 to 1 for every fold, one for
    each (`norm=0.5,up-down=0.3`), or `auto`, which measures on the arithmetic of `kernel`. `folds`: some of norm,
    up-down, v-o, rotate. `untie` allows a tied head a tensor of its own, which rotate needs. `n_samples` windows of
    `seq_len` tokens are calibrated on: of the files `calib`, which are UTF-8 text, JSONL or Parquet (FILE, or
    FILE:FIELD), or else of the default texts. `chat` applies the checkpoint's chat template to conversations.
    """

    types: Sequence[str] = ("q8_0",)
    head: str | None = None
    imatrix: Path | None = None
    smooth: bool = True
    plain: bool = False
    alpha: str | float = 0.5
    folds: str | None = None
    kernel: str = "ggml"
    untie: bool = False
    n_samples: int = 16
    seq_len: int = 512
    calib: Path | Sequence[str | Path] = ()
    chat: bool = False
    seed: int = 0
    device: str = "auto"


def parse_types(text: str) -> tuple[str, ...]:
    """Return the types named in `text` (`q8_0,f32`), each once. Raises BadInput for one that is not known."""
    types = [name.strip().lower() for name in text.split(",")]
    for name in types:
        if name not in FILE_TYPES:
            raise BadInput(f"--type {text}: there is no type {name!r}. There are {', '.join(FILE_TYPES)}.")
    return tuple(dict.fromkeys(types))


def check_settings(settings: PrepareSettings) -> None:
    """Raise BadInput for a setting that is wrong whatever the checkpoint is."""
    if not settings.smooth and not settings.plain:
        raise BadInput("Neither the smoothed nor the plain GGUF is requested, so there is nothing to make.")
    if not settings.types:
        raise BadInput(f"No type is given. There are {', '.join(FILE_TYPES)}.")
    if settings.head is not None and settings.head not in HEADS:
        raise BadInput(f"--head {settings.head}: it is one of {', '.join(HEADS)}.")
    if settings.head == "tied" and settings.untie:
        raise BadInput("--head tied keeps the head and the embedding one tensor, and --untie parts them. Choose one.")
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


def require_head_known(checkpoint: Checkpoint, settings: PrepareSettings) -> None:
    """Raise BadInput where the head that is requested is not one that the checkpoint can have."""
    if settings.head is None:
        return
    if checkpoint.architecture not in ARCHITECTURES:
        raise BadInput(
            f"{checkpoint.architecture}: which of its tensors is the head is not known, so leave out --head. "
            f"It is known of {', '.join(sorted(ARCHITECTURES))}."
        )
    if settings.head == "tied" and not is_tied(checkpoint):
        raise BadInput(f"{checkpoint.name}: its head is a tensor of its own, not the embedding. Leave out --head tied.")


def smoothings_of(checkpoint: Checkpoint, settings: PrepareSettings, texts: Sequence[Prose]) -> dict[str, Smoothing]:
    """Return the smoothing of each requested type. Raises BadInput where it does not suit the checkpoint."""
    auto = settings.alpha == "auto"
    kinds, rotate = parse_folds(settings.folds or (DEFAULT_AUTO_FOLDS if auto else DEFAULT_FOLDS))
    tied = f"{HEAD}.weight" not in checkpoint.tensors
    _require_head(checkpoint, settings, rotate=rotate, tied=tied)
    if rotate and settings.imatrix:
        raise BadInput(
            "--imatrix belongs to the channels of the model as it was, and rotate mixes them: leave out one of the two."
        )
    _require_window(checkpoint, settings.seq_len)
    alphas = {} if auto else alphas_of(kinds, settings.alpha)
    return {
        file_type: Smoothing(
            alpha=_measured_on(checkpoint, settings, file_type) if auto else alphas,
            folds=kinds,
            rotate=rotate,
            untie=settings.untie and tied,
            **_calibration(settings, texts),
        )
        for file_type in settings.types
    }


def no_smoothing(checkpoint: Checkpoint, settings: PrepareSettings, texts: Sequence[Prose]) -> Smoothing:
    """Return the settings of a pass that changes nothing, and only measures an importance matrix.

    Raises BadInput where the layers cannot be run.
    """
    architecture_of(checkpoint.architecture)
    _require_window(checkpoint, settings.seq_len)
    return Smoothing(alpha={}, folds=(), rotate=False, untie=False, **_calibration(settings, texts))


def _calibration(settings: PrepareSettings, texts: Sequence[Prose]) -> dict[str, Any]:
    return {
        "n_samples": settings.n_samples,
        "seq_len": settings.seq_len,
        "seed": settings.seed,
        "calibration_text": names_of(texts),
        "calibration_sha256": sha256_of_texts(texts),
    }


def _measured_on(checkpoint: Checkpoint, settings: PrepareSettings, file_type: str) -> AutoAlpha:
    """Return the arithmetic on whose losses alphas are chosen; floats are expected to become Q8_0 later."""
    matrices, head = FILE_TYPES[file_type].matrices, type_of_head(checkpoint, file_type, settings.head) or "q8_0"
    if matrices in FLOATS and settings.head in (None, "tied"):
        head = "q8_0"
    return AutoAlpha(kernel=settings.kernel, quantisation=emulated(matrices) or "q8_0", head=emulated(head) or head)


def _require_head(checkpoint: Checkpoint, settings: PrepareSettings, *, rotate: bool, tied: bool) -> None:
    """Raise BadInput where the checkpoint's architecture or head does not allow the folds, rotation or untied head."""
    row = architecture_of(checkpoint.architecture)
    if limit := next((name for name in row.limits if checkpoint.config.get(name) is not None), None):
        raise BadInput(
            f"{checkpoint.name}: {limit} in its config.json limits what the linears of {checkpoint.architecture} give, "
            "and a scale cannot pass a limit. It cannot be smoothed; --plain converts it."
        )
    if (rotate or settings.untie) and not row.own_head:
        raise BadInput(
            f"{checkpoint.architecture}: llama.cpp's graph of it multiplies by the embedding, so the head cannot have "
            "a tensor of its own. Leave out --untie, and rotate from --folds."
        )
    if not rotate:
        return
    require_rotatable(checkpoint.architecture)
    if tied and not settings.untie:
        raise BadInput(
            f"{checkpoint.name}: its head is tied to the embedding, and rotate gives it a tensor of its own: "
            f"{growth(checkpoint, settings.types, settings.head)}. Add --untie if that is worth it, or leave rotate "
            "out of --folds."
        )


def _require_window(checkpoint: Checkpoint, seq_len: int) -> None:
    longest = checkpoint.config.get("max_position_embeddings")
    if isinstance(longest, int) and seq_len > longest:
        raise BadInput(f"{seq_len} tokens a window, and {checkpoint.name} takes at most {longest}: give a shorter one.")
