"""Advice on tensors whose names are not those of the checkpoint's architecture."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from smoothdroid.host.model.smoothquant.architectures import EMBEDDING, HEAD

NAMES_SHOWN = 3

# Training tools that wrap a model put a prefix before every name that they save.
WRAPPERS = {
    "_orig_mod.": "torch.compile's: save model._orig_mod",
    "module.": "DistributedDataParallel's: save model.module",
    "base_model.model.": "PEFT's, which holds an adapter beside the model: merge it (merge_and_unload)",
    "_fsdp_wrapped_module.": "FSDP's: save the unwrapped model's full state",
    "_forward_module.": "DeepSpeed's: save the model's consolidated weights",
}


def prefix_advice(wrong: Sequence[str], names: Collection[str]) -> str | None:
    """Return advice for a checkpoint whose tensors' names all have a prefix, or lack `model.`; None for another.

    `names`: all its tensors. `wrong`: those that have no place in the architecture.
    """
    if not wrong:
        return None
    wanted = f"{EMBEDDING}.weight"
    for name in names:
        prefix = name.removesuffix(wanted)
        if name.endswith(wanted) and prefix and all(each.startswith(prefix) for each in names if each in set(wrong)):
            return _of_wrapper(prefix, names)
    if f"{EMBEDDING.removeprefix('model.')}.weight" in names and wanted not in names:
        return (
            "its tensors have bare names (embed_tokens.weight, not model.embed_tokens.weight): it was saved as the "
            "model without its head (LlamaModel, not LlamaForCausalLM). Load it with AutoModelForCausalLM and save it "
            "again (save_pretrained)."
        )
    return None


def missing_advice(missing: str, names: Collection[str]) -> str:
    """Return advice for a checkpoint that lacks the tensor `missing`."""
    if advice := prefix_advice(sorted(names), names):
        return advice
    if missing == f"{HEAD}.weight":
        return (
            f"{missing} is not in its weight files, and by config.json it should be (tie_word_embeddings is false). If "
            'the head is the embedding, set "tie_word_embeddings": true there; if not, fetch the checkpoint again.'
        )
    return f"{missing} is not in its weight files, and by config.json it should be. Fetch the checkpoint again."


def listed(names: Sequence[str]) -> str:
    """Return `3 of its tensors: a, b, c`, or the name of the only one."""
    shown = ", ".join(name if name.isprintable() else repr(name) for name in names[:NAMES_SHOWN])
    if len(names) == 1:
        return f"its tensor {shown}"
    return f"{len(names)} of its tensors: {shown}{' ...' if len(names) > NAMES_SHOWN else ''}"


def _of_wrapper(prefix: str, names: Collection[str]) -> str:
    parts = [each for each in WRAPPERS if each in prefix]
    whose = "; ".join(f"{each!r} is {WRAPPERS[each]}" for each in parts)
    whose = whose or "a larger model's, of which this is a part: save that part alone"
    every = "all names of its tensors begin" if all(name.startswith(prefix) for name in names) else "names begin"
    return (
        f"{every} with {prefix!r}, which no architecture has. {whose}; then save it again (save_pretrained). "
        f"Or take the prefix off: {prefix}{EMBEDDING}.weight is {EMBEDDING}.weight."
    )
