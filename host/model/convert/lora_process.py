"""The process that writes an adapter as a GGUF: `python -m smoothdroid.host.model.convert.lora_process JOB.json`.

llama.cpp's own convert_lora_to_gguf.py does it: names and the order of rows are llama.cpp's. A process that runs it
must not import the `gguf` package: the script brings its own.
"""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.common.child_process import Events
from smoothdroid.host.model.convert.lora_conversion import LoraJob


def main(job: LoraJob) -> None:
    """Run the job. A model that the script cannot convert is reported to the parent; anything else is a traceback."""
    events = Events(job.events)
    sys.path.insert(0, str(job.llama_cpp))
    base: Any = __import__("conversion").ModelBase
    base.write = _describing(base.write, job.metadata)
    sys.argv = [str(job.script), str(job.adapter), "--base", str(job.config), "--outfile", str(job.output)]
    sys.argv += ["--outtype", "f32"]
    try:
        runpy.run_path(str(job.script), run_name="__main__")
    except (NotImplementedError, ValueError) as error:
        events.failed(BadInput(f"llama.cpp's {job.script.name} cannot convert this adapter: {error}"))
        raise


def _describing(write: Callable[[Any], None], metadata: dict[str, str]) -> Callable[[Any], None]:
    """Return the script's `write` with metadata of our own."""

    def described(model: Any) -> None:  # noqa: ANN401 - the script is run as it is and has no types here
        for key, value in metadata.items():
            model.gguf_writer.add_string(key, value)
        write(model)

    return described


if __name__ == "__main__":
    main(LoraJob.model_validate(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
