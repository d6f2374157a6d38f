"""The plot of alpha by layer and fold, as `prepare --alpha auto` chose it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from smoothdroid.host.model.provenance.manifest import FoldAlpha, Manifest
from smoothdroid.host.report.plots.style import COLOURS, DOTS_PER_INCH, MARKERS, PANEL_INCHES

NOT_FOLDED = -0.08
"""The place on the y axis of a fold that was left out."""


def series(strengths: Sequence[FoldAlpha]) -> dict[str, list[tuple[int, float | None]]]:
    """Return (layer, alpha) of the folds of each line, by name; experts share a line, the head follows the layers."""
    last = max((strength.layer for strength in strengths if strength.layer is not None), default=-1)
    lines: dict[str, list[tuple[int, float | None]]] = {}
    for strength in strengths:
        source, _, readers = strength.fold.partition(" -> ")
        name = f"{source.rpartition('.')[2]} -> {readers}" if strength.expert is None else f"{strength.kind} of experts"
        if strength.layer is None:
            name = "last norm -> head"
        lines.setdefault(name, []).append((last + 1 if strength.layer is None else strength.layer, strength.alpha))
    return lines


def alpha_by_layer(manifest: Manifest) -> Figure:
    """Draw each fold's alpha over the layers; a fold that was left out is hollow, below 0."""
    figure = Figure(figsize=PANEL_INCHES, layout="constrained")
    axes = figure.subplots()
    strengths = manifest.outcome.alphas if manifest.outcome else ()
    for index, (name, points) in enumerate(series(strengths).items()):
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        folded = [(layer, alpha) for layer, alpha in points if alpha is not None]
        axes.plot(
            [layer for layer, _ in folded],
            [alpha for _, alpha in folded],
            color=colour,
            marker=marker,
            markersize=4,
            linewidth=1,
            label=name,
        )
        left_out = [layer for layer, alpha in points if alpha is None]
        axes.plot(
            left_out, [NOT_FOLDED] * len(left_out), color=colour, marker=marker, markersize=4, mfc="none", ls="none"
        )
    axes.set_ylim(2 * NOT_FOLDED, 1.02)
    axes.set_yticks([NOT_FOLDED, 0, 0.25, 0.5, 0.75, 1], ["none", "0", "0.25", "0.5", "0.75", "1"])
    axes.set_xlabel("decoder layer")
    axes.set_ylabel("alpha (migration from\nactivations to weights)")
    axes.set_title(f"{manifest.file}: {manifest.outcome.chosen if manifest.outcome else 'plain'}", fontsize=9)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=1, frameon=False, fontsize=8)
    return figure


def write(manifest: Manifest, gguf: Path) -> Path:
    """Write GGUF.alpha.png next to the GGUF; return its path."""
    image = gguf.with_name(f"{gguf.name}.alpha.png")
    alpha_by_layer(manifest).savefig(image, dpi=DOTS_PER_INCH)
    return image
