"""The maker of GGUFs: smooths, converts, loads and publishes one file after the other, each with its manifest."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import serialize_file

from smoothdroid.device.common.atomic_file import publish
from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.host.common.child_process import OnProgress
from smoothdroid.host.common.workspace import workspace
from smoothdroid.host.gguf.file_types import FILE_TYPES
from smoothdroid.host.gguf.reader import GgufFile
from smoothdroid.host.model.checkpoint.description import description
from smoothdroid.host.model.checkpoint.folder import Checkpoint
from smoothdroid.host.model.checkpoint.staging import stage, staging_folder
from smoothdroid.host.model.convert.conversion import to_gguf
from smoothdroid.host.model.convert.loading import require_loads
from smoothdroid.host.model.convert.quantiser import fallbacks, quantise
from smoothdroid.host.model.imatrix import column_scales, measured_matrix, read_imatrix, write_imatrix
from smoothdroid.host.model.provenance.manifest import (
    METADATA_KEY,
    Manifest,
    Provenance,
    Recipe,
    Smoothing,
    SmoothingOutcome,
    changes_path,
    manifest_path,
)
from smoothdroid.host.model.provenance.versions import versions
from smoothdroid.host.model.recipes import gguf_bytes, is_tied, needs_quantiser
from smoothdroid.host.model.smoothing import SmoothJob, smooth
from smoothdroid.host.model.smoothquant.architectures import architecture_of
from smoothdroid.host.model.texts.prose import Prose


@dataclass(frozen=True)
class GgufMaker:
    """Makes GGUFs of one checkpoint in the folder `output`. The same smoothing is computed once.

    `model` is the user's path of the checkpoint, for messages. `texts` are empty where nothing is smoothed or measured.
    `llama_bench` loads each GGUF before it is published, where it is given; `llama_quantize` is only needed for the
    types that the converter does not write. `imatrix` is the file of the importance matrix to round by; where there
    is none, `measure` makes it. `head` is the user's choice for the head's type. `work` is a folder for intermediate
    files, and `stack` removes what lies outside of it.
    """

    checkpoint: Checkpoint
    model: Path
    texts: tuple[Prose, ...]
    device: str
    llama_cpp: Path
    llama_bench: Path | None
    llama_quantize: Path | None
    imatrix: Path | None
    head: str | None
    output: Path
    work: Path
    stack: ExitStack
    say: Callable[[str], None]
    on_progress: OnProgress | None
    _staging: dict[bool, Path] = field(default_factory=dict)
    _smoothed: dict[str, tuple[Path, SmoothingOutcome]] = field(default_factory=dict)

    def make(self, name: str, recipe: Recipe) -> Manifest:
        """Make the GGUF `name` and its manifest by the recipe."""
        changes, outcome = self._smooth(recipe.smoothing) if recipe.smoothing else (None, None)
        changes_file = changes or self._unchanged()
        path, partial = self.output / name, self.work / name
        untied = outcome is not None and outcome.untied
        self.say(f"writing {name}")
        provenance = Provenance(
            recipe=recipe, outcome=outcome, versions=versions(), changes_sha256=sha256_of(changes_file)
        )
        if needs_quantiser(recipe):
            self._quantise(partial, provenance, changes, untied=untied)
        else:
            self._convert(partial, provenance, changes, untied=untied)
        if note := fallbacks(partial, recipe.quantisation, self.head):
            self.say(note)
        if self.llama_bench:
            require_loads(partial, path.with_suffix(".load.log"), self.llama_bench)
        manifest = _describe(partial, provenance)
        self._publish(partial, path, manifest, changes_file)
        return manifest

    def measure(self, smoothing: Smoothing, target: Path) -> None:
        """Make the file `target` the importance matrix of the model before its folds, by the pass of that smoothing."""
        if not self.texts:
            raise ValueError("there is no text to measure on")
        self._smooth(smoothing)
        matrix = measured_matrix(
            self._squares(smoothing),
            self._gguf_architecture,
            chunks=smoothing.n_samples,
            chunk_size=smoothing.seq_len,
            dataset=smoothing.calibration_text,
        )
        partial = self.work / "measured.imatrix"
        write_imatrix(matrix, partial)
        publish(partial, target)

    def _convert(self, out: Path, provenance: Provenance, changes: Path | None, *, untied: bool) -> None:
        """Write the GGUF `out` by llama.cpp's converter: of its own types, or in float32 for the quantiser."""
        recipe, log = provenance.recipe, self.output / out.with_suffix(".convert.log").name
        exact = needs_quantiser(recipe)
        matrices, head = ("f32", "f32") if exact else (FILE_TYPES[recipe.quantisation].matrices, recipe.head)
        to_gguf(
            self._staged(untied=untied),
            out,
            matrices,
            self.llama_cpp,
            name=f"{self.checkpoint.name} smooth" if recipe.smoothing else self.checkpoint.name,
            log=log,
            head=None if head == matrices else head,
            changes=changes,
            metadata={METADATA_KEY: provenance.model_dump_json()},
            expected_bytes=gguf_bytes(self.checkpoint, matrices, head, untied=untied),
            shown=self.model,
            on_step=None if self.texts else self.say,  # the smoothing's process has reported the same
            on_progress=self.on_progress,
        )

    def _quantise(self, out: Path, provenance: Provenance, changes: Path | None, *, untied: bool) -> None:
        """Write the GGUF `out` by llama-quantize, from a file in float32, so that all is rounded once."""
        if not self.llama_quantize:
            raise ValueError("llama-quantize was not given")
        recipe, exact = provenance.recipe, out.with_name(f"exact-{out.name}")
        self._convert(exact, provenance, changes, untied=untied)
        quantise(
            exact,
            out,
            recipe.quantisation,
            self.llama_quantize,
            log=self.output / out.with_suffix(".quantize.log").name,
            head=recipe.head,
            tied=is_tied(self.checkpoint) and not untied,
            imatrix=self._importance(exact, changes) if recipe.imatrix_sha256 else None,
        )
        exact.unlink()

    def _importance(self, exact: Path, changes: Path | None) -> Path:
        """Write the importance matrix of the model with these changes, which is in `exact`; return its file."""
        if not self.imatrix:
            raise ValueError("there is no importance matrix")
        matrix = read_imatrix(self.imatrix)
        matrix.require_fits(self.imatrix, exact)
        if changes:
            matrix = matrix.divided(column_scales(changes, self._gguf_architecture))
        file = self.work / "imatrix.gguf"
        write_imatrix(matrix, file)
        return file

    @property
    def _gguf_architecture(self) -> str:
        return architecture_of(self.checkpoint.architecture).gguf

    def _squares(self, smoothing: Smoothing) -> Path:
        """Return the file of the mean squares that the pass of this smoothing measured."""
        return self._smoothed[smoothing.model_dump_json()][0].with_suffix(".squares")

    def save_hf(self, smoothing: Smoothing, folder: Path) -> None:
        """Smooth, and make `folder` the smoothed checkpoint as transformers loads it."""
        # In a workspace of its own, unless the one that is held is beside it already.
        beside = folder.parent == self.output
        with nullcontext(self.work) if beside else workspace(folder.parent, f"{folder.name}-save") as saving:
            self._smooth(smoothing, saving / folder.name)
            (saving / folder.name).rename(folder)

    def _publish(self, partial: Path, path: Path, manifest: Manifest, changes: Path) -> None:
        """Move the GGUF and its manifest into place, and a copy of the file `changes`."""
        # The old manifest goes first and the new one comes last: at no time does one stand beside another's GGUF.
        record = manifest_path(path)
        record.unlink(missing_ok=True)
        publish(partial, path)
        publish(Path(shutil.copyfile(changes, self.work / changes_path(path).name)), changes_path(path))
        partial_record = self.work / record.name
        partial_record.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        publish(partial_record, record)

    def _smooth(self, smoothing: Smoothing, save_hf: Path | None = None) -> tuple[Path, SmoothingOutcome]:
        """Return (the file of changes, the outcome), computed unless this smoothing was computed before."""
        key = smoothing.model_dump_json()
        if self.texts and (key not in self._smoothed or save_hf):
            number = len(self._smoothed)
            job = SmoothJob(
                events=self.work / f"smooth-{number}.events",
                checkpoint=self._staged(untied=False),
                shown=self.model,
                llama_cpp=self.llama_cpp,
                settings=smoothing,
                texts=self.texts,
                device=self.device,
                changes=self.work / f"smooth-{number}.changes",
                outcome=self.work / f"smooth-{number}.outcome",
                squares=self.work / f"smooth-{number}.squares" if self.imatrix else None,
                save_hf=save_hf,
            )
            log = self.output / f"{self.checkpoint.name}-smooth.log"
            self._smoothed[key] = job.changes, smooth(job, log, on_step=self.say, on_progress=self.on_progress)
        return self._smoothed[key]

    def _unchanged(self) -> Path:
        """Return the file of changes of a GGUF without any."""
        file = self.work / "none.changes"
        serialize_file({}, file, metadata=description(self.checkpoint))
        return file

    def _staged(self, *, untied: bool) -> Path:
        """Return a copy of the checkpoint with data only, made once for a tied and once for an untied head."""
        if untied not in self._staging:
            wanted = self.work / ("untied" if untied else "original")
            parent = self.stack.enter_context(staging_folder(self.checkpoint, wanted))
            # The converter derives general.* metadata from the folder's name, so each copy bears the model's.
            self._staging[untied] = stage(self.checkpoint, parent / self.checkpoint.name, untied=untied)
        return self._staging[untied]


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
