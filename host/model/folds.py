"""Which norm feeds which linears, per architecture. A new architecture or fold is a row here, not code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from device.errors import BadInput


@dataclass(frozen=True)
class Fold:
    """A norm and every linear that reads its output.

    A scale taken out of the norm's weight must go into the columns of all of them: a reader left out would
    see scaled activations. Names are module paths; `{layer}` stands for the decoder layer.
    """

    norm: str
    linears: tuple[str, ...]

    def at(self, layer: int) -> Fold:
        return Fold(self.norm.format(layer=layer), tuple(name.format(layer=layer) for name in self.linears))

    def __str__(self) -> str:
        return f"{self.norm} -> {', '.join(name.rpartition('.')[2] for name in self.linears)}"


LAYER = "model.layers.{layer}."

# The norms here multiply by their weight as it is stored (y = w * x / rms(x)). One that stores w - 1, as
# Gemma's do, does not belong in this table: w / s would be wrong for it.
FOLDS: Mapping[str, tuple[Fold, ...]] = {
    "LlamaForCausalLM": (
        Fold(
            norm=LAYER + "input_layernorm",
            linears=tuple(LAYER + "self_attn." + name for name in ("q_proj", "k_proj", "v_proj")),
        ),
        Fold(
            norm=LAYER + "post_attention_layernorm",
            linears=tuple(LAYER + "mlp." + name for name in ("gate_proj", "up_proj")),
        ),
    ),
}


def folds_of(architecture: str) -> tuple[Fold, ...]:
    """The folds of one decoder layer, with `{layer}` open. Raises BadInput for an architecture not known."""
    if architecture not in FOLDS:
        raise BadInput(
            f"{architecture}: it is not known which of its norms feed which linears, and a wrong guess would "
            f"spoil the model. Known: {', '.join(sorted(FOLDS))}. An unsmoothed GGUF can still be made."
        )
    return FOLDS[architecture]


def expand(folds: tuple[Fold, ...], n_layers: int) -> tuple[Fold, ...]:
    """The folds of a whole model, in the order of its layers."""
    return tuple(fold.at(layer) for layer in range(n_layers) for fold in folds)
