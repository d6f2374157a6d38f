"""Parse the libraries, kernels and memory that llama.cpp used from its own log.

llama-bench logs them with `-v`, llama-completion with `-lv 4`, before it measures; the log does not grow with the
tokens. llama-bench's record holds only the request: `"repack": true` is there whether weights were repacked or not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict


class Kernels(BaseModel):
    """The kernels and the memory of one run; None or empty where the log does not report them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend_library: str | None = None
    """The library of the CPU's kernels, where llama.cpp chose among several when it started."""
    weights_mb: dict[str, float] = {}
    """The size of each buffer in MiB: CPU_Mapped as in the file, CPU_REPACK and CPU_KLEIDIAI in another layout."""
    layouts: dict[str, int] = {}
    """The number of tensors in each layout that weights were repacked to. q8_0_4x8 is i8mm's, q8_0_4x4 dotprod's."""
    kleidiai: dict[str, str] = {}
    """The CPU feature (DOTPROD, I8MM, SVE, SME) that KleidiAI's kernel needs, for each type of weights."""
    features: tuple[str, ...] = ()
    """The features that the kernels were built with and this CPU has; only llama-completion reports them."""
    flash_attention: bool | None = None
    cache_mb: float | None = None
    """The size of the KV cache in MiB."""
    compute_mb: float | None = None
    """The size of the compute buffer in MiB; most of it is never touched."""

    @property
    def repack_mb(self) -> float | None:
        """MiB of weights in ggml's own layouts; None where the log reports no weights."""
        return self.weights_mb.get("CPU_REPACK", 0.0) if self.weights_mb else None

    @property
    def kleidiai_mb(self) -> float | None:
        """MiB of weights in KleidiAI's layouts; None where the log reports no weights."""
        return self.weights_mb.get("CPU_KLEIDIAI", 0.0) if self.weights_mb else None

    def __str__(self) -> str:
        """Return `KleidiAI (q8 I8MM), repacked (q4_0_4x8)` or `not repacked`; empty without weights in the log."""
        if not self.weights_mb:
            return ""
        layouts = []
        if self.kleidiai_mb:
            layouts.append(_with("KleidiAI", (f"{kind} {needs}" for kind, needs in sorted(self.kleidiai.items()))))
        if self.repack_mb:
            layouts.append(_with("repacked", sorted(self.layouts)))
        return ", ".join(layouts) or "not repacked"


# Newer logs have a time before each line, and dots of progress have no line of their own: no pattern begins with ^.
# A line without its end was cut, so its value may be wrong.
_NAME, _SIZE = r"([\w.-]{1,40})", r" buffer size = {1,9}(\d{1,9}\.\d\d) MiB(?=\n)"
_LOAD = re.compile(r"load_tensors: loading model tensors")
_CONTEXT = re.compile(r"llama_context: constructing llama_context(?=\n)")
_LIBRARY = re.compile(r"load_backend: loaded CPU backend from (?:.{0,4096}[/\\])?([^/\\\n]{1,255})(?=\n)")
_WEIGHTS = re.compile(rf"load_tensors: {{1,40}}{_NAME} model{_SIZE}")
_CACHE = re.compile(rf"llama_kv_cache\w*: {{1,40}}{_NAME} KV{_SIZE}")
_COMPUTE = re.compile(rf"(?:sched_reserve|llama_context): {{1,40}}{_NAME} compute{_SIZE}")
_LAYOUT = re.compile(r"repack: repack tensor \S{1,200} with (\w{1,40})(?=\n)")
_KLEIDIAI = re.compile(r"kleidiai: primary (\w{1,9}) kernel feature (\w{1,40})(?=\n)")
_FEATURES = re.compile(r"system_info: [^\n|]{0,200}\| CPU : ((?:\w{1,40} = \d{1,9} \| )+)", re.ASCII)
_ATTENTION = re.compile(
    r"(?:llama_context: flash_attn {1,40}= |Flash Attention (?:was auto, set to )?)(enabled|disabled)$", re.MULTILINE
)


def parse_kernels(log: str) -> Kernels:
    """Return the kernels and the memory that a log reports; other lines are ignored, and any line may be missing.

    Of several models or contexts in a log the last counts: llama-completion may try a setting before it uses it.
    """
    log = log.replace("\r\n", "\n")
    load = log[_last(_LOAD, log) :]
    context = load[_last(_CONTEXT, load) :]
    library, attention = _LIBRARY.findall(log), _ATTENTION.findall(context)
    features = _FEATURES.search(log)
    weights: Counter[str] = Counter()
    for name, size in _WEIGHTS.findall(load):
        weights[name] += round(100 * float(size))  # in hundredths, which add up without an error
    return Kernels(
        backend_library=library[-1] if library else None,
        weights_mb={name: size / 100 for name, size in weights.items()},
        layouts=dict(Counter(_LAYOUT.findall(load))),
        kleidiai=dict(_KLEIDIAI.findall(log)),
        features=tuple(re.findall(r"(\w+) = [1-9]", features[1])) if features else (),
        flash_attention=attention[-1] == "enabled" if attention else None,
        cache_mb=_sum(_CACHE, context),
        compute_mb=_sum(_COMPUTE, context),
    )


def _last(pattern: re.Pattern[str], text: str) -> int:
    """Return the position of the last match; 0 without one."""
    return max((match.start() for match in pattern.finditer(text)), default=0)


def _sum(pattern: re.Pattern[str], text: str) -> float | None:
    sizes = [float(size) for _, size in pattern.findall(text)]
    return round(sum(sizes), 2) if sizes else None


def _with(name: str, details: Iterable[str]) -> str:
    text = ", ".join(details)
    return f"{name} ({text})" if text else name
