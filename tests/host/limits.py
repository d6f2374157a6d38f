"""Bounds on what a call may take, for tests with hostile input."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

LITTLE_BYTES = 32 << 20


@contextmanager
def limited(most_bytes: int = LITTLE_BYTES) -> Iterator[None]:
    """Fail when what runs inside has taken more memory than `most_bytes` at any time, as Python counts it."""
    begun_here = not tracemalloc.is_tracing()
    if begun_here:
        tracemalloc.start()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    try:
        yield
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        if begun_here:
            tracemalloc.stop()
    assert peak - before <= most_bytes, f"{(peak - before) >> 20} MiB were taken"
