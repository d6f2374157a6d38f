"""The process that converts: `python -m smoothdroid.host.model.convert.converter_process JOB.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from smoothdroid.device.common.errors import SmoothdroidError
from smoothdroid.host.common.child_process import Events
from smoothdroid.host.model.calibration.network import Network
from smoothdroid.host.model.checkpoint.folder import open_checkpoint
from smoothdroid.host.model.checkpoint.head import settle_head
from smoothdroid.host.model.checkpoint.weights import Weights
from smoothdroid.host.model.convert.conversion import ConvertJob
from smoothdroid.host.model.convert.llama_converter import GgufRequest, run_converter
from smoothdroid.host.model.smoothquant.architectures import ARCHITECTURES
from smoothdroid.host.model.smoothquant.tensor_changes import load_changes


def main(job: ConvertJob) -> None:
    """Run the job. Faults of the model are reported to the parent; anything else is a traceback."""
    events = Events(job.events)
    try:
        checkpoint = open_checkpoint(job.checkpoint)
        if not job.changes:  # a smoothing has looked already
            checkpoint = settle_head(checkpoint, events.step)
            if checkpoint.architecture in ARCHITECTURES:
                Network(checkpoint)  # refuses shapes that are not config.json's
        weights = Weights(checkpoint, load_changes(job.changes) if job.changes else {})
        wanted = GgufRequest(job.matrices, job.output, job.name, job.head, job.metadata)
        run_converter(job.llama_cpp, job.checkpoint, weights, wanted)
    except SmoothdroidError as error:
        events.failed(error)
        raise


if __name__ == "__main__":
    main(ConvertJob.model_validate(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
