"""Folds: which scales move from which tensor into which others, and the folds of a whole model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.smoothquant.architectures import ARCHITECTURES, HEAD, LAYER, architecture_of

Kind = Literal["norm", "up-down", "v-o"]

# In the order in which a layer's scales are chosen. The folds that divide rows come first: dividing the rows of
# `up` and `v` changes their columns' maxima, which the norm before them is balanced against. Nothing depends on
# the norm's fold in turn: it leaves every activation but the norm's own output as it was.
KINDS: tuple[Kind, ...] = ("v-o", "up-down", "norm")

ROTATE = "rotate"  # no fold of one tensor into another, but named along with them: see rotation.py


@dataclass(frozen=True)
class Fold:
    """Scales taken out of `source` and put into the columns of every linear in `readers`.

    The source is a norm, or a linear whose rows (and bias) are divided: its last rows, as many as there are scales.
    All that reads the source's output is in `readers`: a reader left out would see scaled activations. Names are
    those of the checkpoint's tensors without `.weight`; `{layer}` and `{expert}` may stand open.
    """

    kind: Kind
    source: str
    readers: tuple[str, ...]
    source_offset: float = 0.0
    n_heads: int = 1  # that the readers' columns belong to, and ...
    n_kv_heads: int = 1  # ... that the source's rows belong to: several heads share one of these
    experts: str | None = None
    expert: int | None = None
    layer: int | None = None

    def __str__(self) -> str:
        """Return `source -> readers`, as the manifest names the fold."""
        return f"{self.source} -> {', '.join(name.rpartition('.')[2] for name in self.readers)}"


@dataclass(frozen=True)
class Sizes:
    """The numbers of a model that its folds depend on. `n_experts` is 0 where there are none."""

    n_layers: int
    n_heads: int
    n_kv_heads: int
    n_experts: int = 0


def folds_of(architecture: str, kinds: Iterable[str] = KINDS) -> tuple[Fold, ...]:
    """Return the folds of one decoder layer, with `{layer}` and `{expert}` open, in the order of KINDS.

    Raises BadInput for an architecture that is not in the table.
    """
    row, layer = architecture_of(architecture), LAYER

    def within(*names: str) -> tuple[str, ...]:
        return tuple(layer + name for name in names)

    folds = [Fold("v-o", layer + row.v, within(row.o))]
    if row.up is not None:
        folds.append(Fold("up-down", layer + row.up, within(row.down), experts=row.experts and layer + row.experts))
    for norm, linears in row.norms.items():
        folds.append(Fold("norm", layer + norm, within(*linears), source_offset=row.norm_offset))
    wanted = set(kinds)
    return tuple(fold for fold in folds if fold.kind in wanted)


@dataclass(frozen=True)
class ResidualStream:
    """The residual stream of a model: what reads from it and what writes into it, by tensor names without `.weight`.

    `readers`: norm -> the linears behind it, the last norm and the head among them. The embedding writes too.
    """

    readers: Mapping[str, tuple[str, ...]]
    writers: tuple[str, ...]
    norm_offset: float


def require_rotatable(architecture: str) -> None:
    """Raise BadInput where rotating the residual stream would not leave the function as it is."""
    if not architecture_of(architecture).rotates:
        exact = sorted(name for name, row in ARCHITECTURES.items() if row.rotates)
        raise BadInput(
            f"{architecture}: rotate is not exact here: norms stand between its sublayers and the residual stream, or "
            f"subtract the mean of its channels. Leave rotate out of --folds. It is exact for: {', '.join(exact)}."
        )


def residual_stream(architecture: str, sizes: Sizes) -> ResidualStream:
    """Return the residual stream of a model. Raises BadInput for an architecture whose stream cannot be rotated."""
    require_rotatable(architecture)
    row = architecture_of(architecture)
    readers: dict[str, tuple[str, ...]] = {}
    writers: list[str] = []
    for layer in range(sizes.n_layers):
        for norm, linears in row.norms.items():
            readers[(LAYER + norm).format(layer=layer)] = tuple(
                name for linear in linears for name in fill(LAYER + linear, layer, range(sizes.n_experts))
            )
        for linear in (row.o, row.down):
            writers += fill(LAYER + linear, layer, range(sizes.n_experts))
    return ResidualStream({**readers, row.final_norm: (HEAD,)}, tuple(writers), row.norm_offset)


def fill(name: str, layer: int, experts: Sequence[int]) -> list[str]:
    """Return the name with `{layer}` filled in, once, or once for each of `experts` where `{expert}` stands open."""
    numbers = experts if "{expert}" in name else [0]
    return [name.format(layer=layer, expert=number) for number in numbers]


def head_fold(architecture: str) -> Fold:
    """Return the fold of the last norm into the head, where that is not tied to the embedding."""
    row = architecture_of(architecture)
    return Fold("norm", row.final_norm, (HEAD,), source_offset=row.norm_offset)


def expand(folds: Sequence[Fold], sizes: Sizes) -> tuple[Fold, ...]:
    """Return the folds of a whole model, in the order of its layers and, within one, of KINDS."""
    return tuple(each for layer in range(sizes.n_layers) for fold in folds for each in _in_layer(fold, layer, sizes))


def _in_layer(fold: Fold, layer: int, sizes: Sizes) -> list[Fold]:
    if fold.kind == "v-o":
        fold = replace(fold, n_heads=sizes.n_heads, n_kv_heads=sizes.n_kv_heads)
    if "{expert}" in fold.source:  # each expert has scales of its own
        return [replace(_fill(fold, layer, [number]), expert=number) for number in range(sizes.n_experts)]
    return [_fill(fold, layer, range(sizes.n_experts))]


def _fill(fold: Fold, layer: int, experts: Sequence[int]) -> Fold:
    """Return the fold with `{layer}` filled in, and one reader for each of `experts` where `{expert}` stands open."""
    return replace(
        fold,
        layer=layer,
        source=fill(fold.source, layer, experts)[0],
        readers=tuple(filled for name in fold.readers for filled in fill(name, layer, experts)),
        experts=fold.experts and fill(fold.experts, layer, experts)[0],
    )


def parse_folds(text: str) -> tuple[tuple[Kind, ...], bool]:
    """Parse `norm,up-down,rotate` into the kinds of fold, in the order of KINDS, and whether to rotate.

    Raises BadInput for none, or for one that is not known.
    """
    wanted = {name.strip() for name in text.split(",")}
    unknown = sorted(wanted - {*KINDS, ROTATE})
    if unknown:
        what = f"there is no fold {unknown[0]!r}" if unknown[0] else "a name is missing"
        raise BadInput(f"folds {text!r}: {what}. There are {', '.join((*reversed(KINDS), ROTATE))}.")
    return tuple(kind for kind in KINDS if kind in wanted), ROTATE in wanted


def alphas_of(kinds: Sequence[Kind], alpha: str | float) -> dict[Kind, float]:
    """Return the alpha of each kind: `0.5` for all, or `norm=0.5,up-down=0.3`, one for each.

    Raises BadInput where it is no number from 0 to 1, or where a kind has none.
    """
    given = _parse_alpha(str(alpha), kinds)
    if given.keys() != set(kinds):
        raise BadInput(
            f"alpha is given for {', '.join(sorted(given))}, and the folds are {', '.join(sorted(kinds))}: "
            "give one number for all, or one for each."
        )
    for kind in kinds:
        if not 0 <= given[kind] <= 1:
            raise BadInput(
                f"alpha is {given[kind]:g} for {kind}; it must be from 0 (all into the activations) to 1 "
                "(all into the weights)."
            )
    return {kind: given[kind] for kind in kinds}


def _parse_alpha(text: str, kinds: Sequence[Kind]) -> dict[str, float]:
    try:
        if "=" not in text:
            return dict.fromkeys(kinds, float(text))
        pairs = [part.split("=") for part in text.split(",")]
        return {kind.strip(): float(alpha) for kind, alpha in pairs}
    except ValueError as error:
        raise BadInput(f"alpha {text!r}: it is auto, a number, or one for each fold: norm=0.5,up-down=0.3.") from error
