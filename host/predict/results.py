"""A measured cell beside what was expected of it."""

from __future__ import annotations

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.info import socs
from smoothdroid.host.gguf.artifact import Header
from smoothdroid.host.predict import roofline, work
from smoothdroid.host.predict.efficiency import fitted
from smoothdroid.host.predict.roofline import Against
from smoothdroid.host.results.cell import Cell


def measured_against(tokens_per_s: float, cell: Cell, model: Header, soc: str) -> Against | None:
    """Where the speed of `cell` lies, of `model` on a phone that calls its SoC `soc`.

    None where nothing is expected: a SoC or its cores are not in the table, a mixture of experts, a model that the
    caches may hold, a prompt and its answer in one, prefill after a depth, a record older than what is needed of it.
    """
    row, test = socs.find(soc), cell.test
    if row is None or (test.n_prompt and test.n_gen) or test.prompt:
        return None
    try:
        asked = work.of_header(model)
    except BadInput:
        return None
    options = cell.options
    # What is certain to be read: a cache in another type has fewer bytes, and what is generated only comes to it.
    depth = 0 if options.cache_k or options.cache_v else options.depth
    found = roofline.predict(asked, row, fitted(), depth=depth)
    expected = found.decode if test.n_gen else None if options.depth else found.prefill
    return roofline.against(tokens_per_s, expected) if expected else None
