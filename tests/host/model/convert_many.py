"""Many checkpoints through llama.cpp's converter, in one process that loads its libraries once.

    python -m tests.host.model.convert_many LLAMA_CPP OUTPUT CHECKPOINT...

Each checkpoint has a process of its own, forked from this one, as the converter's modules are changed for each. The
changes in its file CHANGES are made on the way. With a file PRE_TOKENIZER, the converter takes the name of the
pre-tokenizer from there: it knows those of public models by hashes of their vocabularies. Prints a line of JSON for
each: its name, the notes, and the BadInput's text or null as `error`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import transformers

from smoothdroid.device.common.errors import SmoothdroidError
from smoothdroid.host.model.calibration.network import Network
from smoothdroid.host.model.checkpoint.folder import open_checkpoint
from smoothdroid.host.model.checkpoint.head import settle_head
from smoothdroid.host.model.checkpoint.staging import stage
from smoothdroid.host.model.checkpoint.vocabulary import require_rows
from smoothdroid.host.model.checkpoint.weights import Weights
from smoothdroid.host.model.convert.llama_converter import GgufRequest, run_converter
from smoothdroid.host.model.smoothquant.architectures import ARCHITECTURES
from smoothdroid.host.model.smoothquant.tensor_changes import load_changes

CHANGES, PRE_TOKENIZER = "changes.smoothing", "pre_tokenizer.txt"


def convert(llama_cpp: Path, model: Path, output: Path) -> dict[str, object]:
    """Do what `prepare --plain --type f32` does to a checkpoint, without a process for each step."""
    notes: list[str] = []
    try:
        checkpoint = open_checkpoint(model)
        notes += filter(None, [require_rows(checkpoint)])
        staged = stage(checkpoint, output / "staged" / model.name)
        checkpoint = settle_head(open_checkpoint(staged), notes.append)
        if checkpoint.architecture in ARCHITECTURES:
            Network(checkpoint)
        if (model / PRE_TOKENIZER).exists():
            name = (model / PRE_TOKENIZER).read_text(encoding="utf-8")
            text_model: Any = sys.modules["conversion.base"].TextModel
            text_model.get_vocab_base_pre = lambda _self, _tokenizer: name
        changes = load_changes(model / CHANGES) if (model / CHANGES).exists() else {}
        wanted = GgufRequest("f32", output / f"{model.name}.gguf", checkpoint.name)
        run_converter(llama_cpp, staged, Weights(checkpoint, changes), wanted)
    except SmoothdroidError as error:
        return {"name": model.name, "error": str(error), "notes": notes}
    return {"name": model.name, "error": None, "notes": notes}


def main(llama_cpp: Path, output: Path, models: list[Path]) -> None:
    """Convert each in a process of its own."""
    (output / "staged").mkdir(parents=True)
    sys.path.insert(0, str(llama_cpp))
    __import__("convert_hf_to_gguf")
    library: Any = transformers
    for name in ("AutoModelForCausalLM", "AutoTokenizer", "LlamaForCausalLM", "PreTrainedTokenizerFast"):
        getattr(library, name)  # transformers imports its modules when they are first used
    for model in models:
        child = os.fork()
        if not child:
            line = json.dumps(convert(llama_cpp, model, output))
            os.write(1, f"{line}\n".encode())
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0, model


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [Path(model) for model in sys.argv[3:]])
