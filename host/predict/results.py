"""Measured cells compared with their predictions."""

from __future__ import annotations

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.info import socs
from smoothdroid.host.gguf.artifact import Header
from smoothdroid.host.predict import roofline, work
from smoothdroid.host.predict.efficiency import fitted
from smoothdroid.host.predict.roofline import Against
from smoothdroid.host.results.cell import Cell


def measured_against(tokens_per_s: float, cell: Cell, model: Header, soc: str) -> Against | None:
    """Compare the speed of `cell`, of `model` on a phone that calls its SoC `soc`, with its prediction.

    Return None where there is no prediction: the SoC or its cores are not in the table, the model is a mixture of
    experts or may fit in the caches, the cell is a prompt with its answer or prefill after a depth, or the record is
    too old to contain what the prediction needs.
    """
    row, test = socs.find(soc), cell.test
    if row is None or (test.n_prompt and test.n_gen) or test.prompt:
        return None
    try:
        needed = work.of_header(model)
    except BadInput:
        return None
    options = cell.options
    # Only bytes that are certainly read: a cache in another type has fewer, and generated tokens add more.
    depth = 0 if options.cache_k or options.cache_v else options.depth
    prediction = roofline.predict(needed, row, fitted(), depth=depth)
    expected = prediction.decode if test.n_gen else None if options.depth else prediction.prefill
    return roofline.against(tokens_per_s, expected) if expected else None
