from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from smoothdroid.device.common.errors import BadInput, SmoothdroidError
from smoothdroid.host.model.convert.conversion import converter_id, to_gguf
from smoothdroid.host.model.smoothquant.tensor_changes import save_changes

MakeCheckpoint = Callable[..., Path]
CONVERTER = """
import json, os, sys
class ModelBase:
    def index_tensors(self): return {}
    def write(self): pass
class LazyTorchTensor: pass
class gguf: pass
def main():
"""


def fake_llama_cpp(folder: Path, script: str) -> Path:
    """A llama.cpp tree whose converter does `script`."""
    (folder / "conversion").mkdir(parents=True)
    (folder / "conversion" / "base.py").write_text("x = 1\n")
    (folder / "convert_hf_to_gguf.py").write_text(CONVERTER + textwrap.indent(script, "    "))
    return folder


def test_the_converter_is_told_what_to_do(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    llama_cpp = fake_llama_cpp(
        tmp_path / "llama",
        "out = sys.argv[sys.argv.index('--outfile') + 1]\njson.dump(sys.argv[1:], open(out, 'w')); print('done')\n",
    )
    model, out = make_checkpoint("model; rm -rf"), tmp_path / "x.gguf"
    reports: list[tuple[str, int, int]] = []
    to_gguf(
        model,
        out,
        "q8_0",
        llama_cpp,
        name="a name",
        log=tmp_path / "log",
        expected_bytes=100,
        on_progress=lambda *at: reports.append(at),
    )
    options = ["--outtype", "q8_0", "--outfile", str(out), "--model-name", "a name"]
    assert json.loads(out.read_text()) == [str(model), *options]
    assert reports[-1] == ("write", 100, 100)
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("ending", ["sys.exit(3)", "open(sys.argv[5], 'w').close(); sys.exit(3)"])
def test_a_failure_keeps_the_log(make_checkpoint: MakeCheckpoint, tmp_path: Path, ending: str) -> None:
    llama_cpp = fake_llama_cpp(tmp_path / "llama", f"print('so it is')\n{ending}\n")
    log = tmp_path / "kept.log"
    with pytest.raises(SmoothdroidError, match=r"converter, on tiny, ended with status 3; .*kept.log\n  so it is"):
        to_gguf(make_checkpoint(), tmp_path / "x.gguf", "q8_0", llama_cpp, name="n", log=log)
    assert log.read_text() == "so it is\n"


def test_a_converter_that_writes_nothing(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    llama_cpp = fake_llama_cpp(tmp_path / "llama", "pass")
    with pytest.raises(SmoothdroidError, match="ended well and wrote no file"):
        to_gguf(make_checkpoint(), tmp_path / "x.gguf", "q8_0", llama_cpp, name="n", log=tmp_path / "log")


@pytest.mark.parametrize("smoothed", [True, False])
def test_a_model_without_config_for_its_weights_is_refused(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, smoothed: bool
) -> None:
    """Unsmoothed, nobody else would look: the converter writes what no kernel can run."""
    model = make_checkpoint()
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "intermediate_size": 128}))
    llama_cpp = fake_llama_cpp(tmp_path / "llama", "pass")
    changes = tmp_path / "changes"
    save_changes({}, changes)
    with pytest.raises(SmoothdroidError, match="wrote no file" if smoothed else "has the shape"):
        to_gguf(
            model,
            tmp_path / "x.gguf",
            "q8_0",
            llama_cpp,
            name="n",
            log=tmp_path / "log",
            changes=changes if smoothed else None,
        )


def test_a_folder_without_converter_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no convert_hf_to_gguf\.py there"):
        to_gguf(tmp_path, tmp_path / "x.gguf", "q8_0", tmp_path, name="n", log=tmp_path / "log")


def test_the_id_follows_the_converters_code(tmp_path: Path) -> None:
    one = converter_id(fake_llama_cpp(tmp_path / "one", "pass\n"))
    same = fake_llama_cpp(tmp_path / "two", "pass\n")
    assert converter_id(same) == one
    (same / "conversion" / "base.py").write_text("x = 2\n")
    assert converter_id(same) != one
