"""The memory that a cell needs, compared with a phone's before anything is sent there.

Every number is a lower bound, so a cell that is refused does not fit. Checked against llama.cpp 0c1e57098 with
SmolLM2-135M on x86-64:

- The KV cache is exactly what llama.cpp allocates and fills with zeros ("KV buffer size"), for models whose every
  layer keeps every token. With sliding windows it is exact where the GGUF says which layers have them
  (`sliding_window_pattern`), and otherwise taken as if all had. The states of recurrent layers are not counted.
- A test at a depth keeps a second copy of what it computed there, from which each repetition starts:
  `-p 16 -d 2000` took 100 MiB more than `-p 16`, of which 39 are the cache and 44 the copy.
- "compute buffer size" is address space, not memory: 96 of its 98 MiB for 512 tokens are room for the logits of each
  of them (512 x 49152 x 4 bytes), and llama-bench asks for the last one's only. What the process really took for them
  was 13 MiB. Counted is the widest pair of a layer's results (6 MiB there); a vocabulary of 262144 would otherwise
  be half a GiB that nobody needs.
- Weights count once, mapped or not: the kernel may drop mapped pages, but then each token reads flash, which is no
  measurement. Repacked weights are a copy, and their originals may be dropped for good. What a token reads one row
  of, an embedding that is not the head too, does not count.

The needs are compared with MemAvailable. Android can make more room by ending apps in the background or compressing
their memory; so can the user, before, and a phone that does it meanwhile measures something else.
"""

from __future__ import annotations

from dataclasses import dataclass

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.gguf.artifact import Artifact
from smoothdroid.host.llamacpp.command_lines import context
from smoothdroid.host.results.plan import Plan

MB = 2**20
GB = 2**30
CONTEXT_STEP = 256
"""The multiple of tokens that llama.cpp rounds a context up to (src/llama-context.cpp, issue 17037)."""
UBATCH = 512
"""llama.cpp's default."""
FLOAT = 4  # bytes; a layer computes in float32, whatever type its weights have


@dataclass(frozen=True)
class Needed:
    """The bytes that a cell takes at least, and the settings that they come from."""

    weights: int
    cache: int
    """The KV cache: keys and values."""
    copy: int
    """The second copy of the cache, up to the depth of the test."""
    compute: int
    """The results of a layer for the tokens that it gets at once."""
    tokens: int
    """The tokens that the cache has room for, rounded up as llama.cpp does."""
    types: tuple[str, str]
    """The types of the cache's keys and values."""

    @property
    def total(self) -> int:
        """The sum in bytes."""
        return self.weights + self.cache + self.copy + self.compute

    def __str__(self) -> str:
        """Return the arithmetic: `6.70 GiB of weights + 4.25 GiB of KV cache (8704 tokens, f16) + ... = 11.0 GiB`."""
        types = "/".join(dict.fromkeys(self.types))
        parts = [f"{_gib(self.weights)} of weights", f"{_gib(self.cache)} of KV cache ({self.tokens} tokens, {types})"]
        parts += [f"{_gib(self.copy)} of its copy at the depth"] if self.copy else []
        return f"{' + '.join([*parts, f'{_gib(self.compute)} to compute'])} = {_gib(self.total)}"


def needed(
    model: Artifact,
    tokens: int,
    *,
    depth: int = 0,
    at_once: int = 1,
    cache_k: str | None = None,
    cache_v: str | None = None,
    ubatch: int | None = None,
) -> Needed | None:
    """Return the memory that a cell needs with a context of `tokens`: depth, prompt and answer together.

    `at_once` is the longest prefill, that to the depth included, in tokens; `ubatch` the smaller of -b and -ub; None
    is llama.cpp's default (f16, 512). Returns None for a model whose record does not describe its shape. Raises
    BadInput for a type that ggml does not have.
    """
    shape = model.shape
    if shape is None:
        return None
    types = cache_k or "f16", cache_v or "f16"
    cells = _rounded_up(tokens)
    batch = min(ubatch or UBATCH, max(at_once, 1), tokens)

    def cache(kept: int, near: int) -> int:
        """Return the bytes for `kept` tokens, and for `near` tokens in the layers with a window."""
        return _bytes(shape.keys * kept + shape.window_keys * near, types[0]) + _bytes(
            shape.values * kept + shape.window_values * near, types[1]
        )

    # A window's cache has room for the tokens that are computed at once, too: the whole batch, used or not.
    reserved = min(ubatch or UBATCH, tokens)
    window = shape.window or 0
    return Needed(
        weights=shape.weights_bytes,
        cache=cache(cells, min(cells, _rounded_up(window + reserved))),
        copy=cache(depth, min(depth, window)),
        compute=FLOAT * batch * shape.hidden,
        tokens=cells,
        types=types,
    )


def check_plan(plan: Plan, available_mb: int) -> None:
    """Raise BadInput naming the first cell of a plan that cannot fit, and how many there are."""
    models = {model.sha256: model for model in plan.models}
    refused = []
    for cell in plan.cells():
        test, options = cell.test, cell.options
        prompt = context(test.prompt, test.n_gen) if test.prompt else test.n_prompt + test.n_gen
        needs = needed(
            models[cell.model_sha256],
            options.depth + prompt,
            depth=options.depth,
            at_once=max(test.n_prompt, options.depth),
            cache_k=options.cache_k,
            cache_v=options.cache_v,
            ubatch=min((size for size in (options.batch, options.ubatch) if size), default=None),
        )
        name = ", ".join(filter(None, [cell.model, test.name, str(options)]))
        try:
            check(name, needs, available_mb) if needs else None
        except BadInput as error:
            refused.append(str(error))
    if refused:
        cells = f" ({len(refused)} of {len(list(plan.cells()))} cells do not fit)" if len(refused) > 1 else ""
        raise BadInput(f"{refused[0]}{cells}")


def check(name: str, needs: Needed, available_mb: int) -> None:
    """Raise BadInput when a cell named `name` cannot fit in the memory that a phone has available."""
    if needs.total > available_mb * MB:
        smaller = "a smaller model or context" + ("" if needs.cache * 4 < needs.weights else ", a smaller KV type")
        raise BadInput(
            f"{name}: needs at least {needs}, the phone has {_gib(available_mb * MB)} available. "
            f"Close other apps on it, take {smaller}, or use --force to try"
        )


def _rounded_up(tokens: int) -> int:
    return -(-tokens // CONTEXT_STEP) * CONTEXT_STEP


def _bytes(elements: int, kind: str) -> int:
    try:
        block, size = GGML_QUANT_SIZES[GGMLQuantizationType[kind.upper()]]
    except KeyError as error:
        raise BadInput(f"`{kind}` is not a type of ggml") from error
    return elements * size // block


def _gib(size: int) -> str:
    return f"{size / GB:.2f} GiB"
