"""The table of architectures: tensor names, norms and GGUF layout. A new architecture is one row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from smoothdroid.device.common.errors import BadInput

EMBEDDING = "model.embed_tokens"
HEAD = "lm_head"
LAYER = "model.layers.{layer}."


@dataclass(frozen=True)
class ModelArchitecture:
    """One row of the table: a decoder layer by the names of its checkpoint's tensors, and its form as a GGUF.

    Names come without `.weight`. `{expert}` stands for a number where the feed-forward part has experts. A linear named
    twice is fused: `v` is the last part of `qkv`, `up` of `gate, up`, as transformers splits them.
    """

    attention_norm: str | None = "input_layernorm"
    """The norm that q, k and v read; None where they read the residual stream itself."""
    qkv: tuple[str, ...] = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    v: str = "self_attn.v_proj"
    o: str = "self_attn.o_proj"
    ffn_norm: str | None = "post_attention_layernorm"
    """The norm that the feed-forward part reads: None as above, `attention_norm` where both sublayers read that one."""
    ffn: tuple[str, ...] = ("mlp.gate_proj", "mlp.up_proj")
    """Every linear that reads `ffn_norm`, a router included."""
    up: str | None = "mlp.up_proj"
    """The linear whose output is multiplied by the gate's; None where there is no gate."""
    down: str = "mlp.down_proj"
    experts: str | None = None
    """The module in which transformers holds the experts fused."""
    renamed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Parameters that transformers holds in other tensors than the checkpoint: their names in the layer, and the
    checkpoint's tensors that are concatenated for them (side by side first, then stacked over `{expert}`)."""
    final_norm: str = "model.norm"
    """The norm before the head, by its name in the checkpoint."""
    norm_offset: float = 0.0
    """The factor of a norm less its stored weight: 0 for y = w * x / rms(x), 1 for Gemma's (1 + w) * x / rms(x)."""
    centred: bool = False
    """The norms subtract the mean of the channels first: LayerNorm."""
    head_norms: Literal["each head", "all heads"] | None = None
    """There are norms of q and k, over the numbers of one head or of all together. They follow the projection and have
    no part in any fold."""
    post_norms: bool = False
    """There are norms behind the attention and the feed-forward part."""
    limits: tuple[str, ...] = ()
    """Settings of config.json that limit what a linear gives. Where one is set, no scale can pass."""
    own_head: bool = True
    """llama.cpp can hold a head that is not the embedding. Its graphs of Gemma 1 and 2 multiply by the embedding."""
    tied_head: bool = True
    """llama.cpp's graph can take the embedding for the head."""
    gguf: str = "llama"
    """llama.cpp's name of the architecture, `general.architecture` of its GGUFs."""
    gguf_ffn_norm: str = "ffn_norm"
    """The name in a GGUF of the norm before the feed-forward part."""
    biases: tuple[str, ...] = ("attn_q", "attn_k", "attn_v", "attn_qkv")
    """The linears and norms, by their names in a GGUF, that may have a bias there."""
    optional: tuple[str, ...] = ()
    """The parts of a layer, by their names in a GGUF, that some models have and others have not."""
    rope: Literal["neighbours", "halves"] | None = None
    """The numbers of a head that rope rotates together in a GGUF, where `evaluate --kernel` emulates the architecture:
    pairs of neighbours (the converter permutes q and k for it) or pairs of its two halves."""

    @property
    def fused_qkv(self) -> bool:
        """True where q, k and v are one tensor."""
        return len(self.qkv) == 1

    @property
    def fused_gate(self) -> bool:
        """True where gate and up are one tensor."""
        return self.ffn == (self.up,)

    @property
    def norms(self) -> dict[str, tuple[str, ...]]:
        """The norms within a layer, each with every linear that reads it."""
        norms: dict[str, tuple[str, ...]] = {}
        for norm, linears in ((self.attention_norm, self.qkv), (self.ffn_norm, self.ffn)):
            if norm is not None:
                norms[norm] = (*norms.get(norm, ()), *linears)
        return norms

    @property
    def rotates(self) -> bool:
        """True where the residual stream can be rotated.

        A norm between a sublayer and the stream prevents it: its weight belongs to the channels as they were, and no
        linear comes after it to take the weight in. So does a norm that subtracts the mean, which a rotation moves.
        """
        return not (self.post_norms or self.centred)


LLAMA = ModelArchitecture(
    biases=("attn_q", "attn_k", "attn_v", "attn_qkv", "attn_output", "ffn_gate", "ffn_up", "ffn_down"),
    rope="neighbours",
)
FUSED_GATE = ModelArchitecture(ffn=("mlp.gate_up_proj",), up="mlp.gate_up_proj")
GEMMA = ModelArchitecture(gguf="gemma", norm_offset=1.0, own_head=False)
# Both sublayers read one norm, and the head is the embedding: the head's tensor has no place in llama.cpp's graphs.
COHERE = ModelArchitecture(ffn_norm="input_layernorm", centred=True, own_head=False)
OLMO_2 = ModelArchitecture(
    gguf="olmo2", attention_norm=None, ffn_norm=None, post_norms=True, head_norms="all heads", tied_head=False
)
EXPERTS = ModelArchitecture(
    gguf="qwen3moe",
    head_norms="each head",
    ffn=("mlp.gate", "mlp.experts.{expert}.gate_proj", "mlp.experts.{expert}.up_proj"),
    up="mlp.experts.{expert}.up_proj",
    down="mlp.experts.{expert}.down_proj",
    experts="mlp.experts",
    renamed={
        "mlp.experts.gate_up_proj": (
            "mlp.experts.{expert}.gate_proj.weight",
            "mlp.experts.{expert}.up_proj.weight",
        ),
        "mlp.experts.down_proj": ("mlp.experts.{expert}.down_proj.weight",),
    },
)
# Gemma 2 and 3 put norms behind the sublayers too; post_attention_layernorm is one of those, and feeds no linear.
GEMMA_2 = replace(GEMMA, gguf="gemma2", ffn_norm="pre_feedforward_layernorm", post_norms=True)

ARCHITECTURES: dict[str, ModelArchitecture] = {
    "LlamaForCausalLM": LLAMA,
    "MistralForCausalLM": LLAMA,
    # Embedding, residual stream and logits are multiplied by numbers of config.json, which commutes with every fold.
    "GraniteForCausalLM": replace(LLAMA, gguf="granite", rope=None),
    "Ministral3ForCausalLM": replace(LLAMA, gguf="mistral3"),
    "SmolLM3ForCausalLM": ModelArchitecture(gguf="smollm3"),
    "SeedOssForCausalLM": ModelArchitecture(gguf="seed_oss", gguf_ffn_norm="post_attention_norm"),
    "Ernie4_5ForCausalLM": ModelArchitecture(
        gguf="ernie4_5", rope="neighbours", biases=("attn_q", "attn_k", "attn_v", "attn_output")
    ),
    "GlmForCausalLM": replace(FUSED_GATE, gguf="chatglm"),
    "Qwen2ForCausalLM": ModelArchitecture(gguf="qwen2", rope="halves"),
    "Qwen3ForCausalLM": ModelArchitecture(gguf="qwen3", rope="halves", head_norms="each head"),
    "Qwen3MoeForCausalLM": EXPERTS,
    "OlmoeForCausalLM": replace(EXPERTS, gguf="olmoe", head_norms="all heads", limits=("clip_qkv",), tied_head=False),
    "Olmo2ForCausalLM": OLMO_2,
    "Olmo3ForCausalLM": OLMO_2,
    "Exaone4ForCausalLM": replace(OLMO_2, gguf="exaone4", head_norms="each head", tied_head=True),
    "Glm4ForCausalLM": replace(FUSED_GATE, gguf="glm4", post_norms=True),
    "CohereForCausalLM": replace(COHERE, gguf="command-r", optional=("attn_q_norm", "attn_k_norm")),
    "Cohere2ForCausalLM": replace(COHERE, gguf="cohere2"),
    "PhiForCausalLM": ModelArchitecture(
        gguf="phi2",
        o="self_attn.dense",
        ffn_norm="input_layernorm",
        ffn=("mlp.fc1",),
        up=None,
        down="mlp.fc2",
        final_norm="model.final_layernorm",
        centred=True,
        tied_head=False,
        biases=(
            *("attn_norm", "attn_q", "attn_k", "attn_v", "attn_qkv", "attn_output", "ffn_up", "ffn_down"),
            *("output_norm", "output"),
        ),
    ),
    "GemmaForCausalLM": GEMMA,
    "Gemma2ForCausalLM": GEMMA_2,
    "Gemma3ForCausalLM": replace(GEMMA_2, gguf="gemma3", head_norms="each head", own_head=True),
    "Phi3ForCausalLM": replace(FUSED_GATE, gguf="phi3", qkv=("self_attn.qkv_proj",), v="self_attn.qkv_proj"),
    "MixtralForCausalLM": replace(
        LLAMA,
        ffn=(
            "block_sparse_moe.gate",
            "block_sparse_moe.experts.{expert}.w1",
            "block_sparse_moe.experts.{expert}.w3",
        ),
        up="block_sparse_moe.experts.{expert}.w3",
        down="block_sparse_moe.experts.{expert}.w2",
        experts="mlp.experts",
        renamed={
            "mlp.gate.weight": ("block_sparse_moe.gate.weight",),
            "mlp.experts.gate_up_proj": (
                "block_sparse_moe.experts.{expert}.w1.weight",
                "block_sparse_moe.experts.{expert}.w3.weight",
            ),
            "mlp.experts.down_proj": ("block_sparse_moe.experts.{expert}.w2.weight",),
        },
    ),
}
"""The architectures that can be smoothed, by transformers' class of the model."""


def architecture_of(name: str) -> ModelArchitecture:
    """Return the row of transformers' class `name`. Raises BadInput where it has none."""
    if name not in ARCHITECTURES:
        raise BadInput(
            f"{name}: it is not known which of its norms and linears feed which linears, and a wrong guess "
            f"would spoil the model. Known: {', '.join(sorted(ARCHITECTURES))}. Unsmoothed it can still be converted: "
            "--plain."
        )
    return ARCHITECTURES[name]


def gguf_architectures() -> dict[str, ModelArchitecture]:
    """Return a row for each of llama.cpp's names; rows that share a name have one layout."""
    return {row.gguf: row for row in ARCHITECTURES.values()}
