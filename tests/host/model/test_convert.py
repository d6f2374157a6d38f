from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from device.errors import BadInput, SmoothdroidError
from host.model.convert import converter_id, to_gguf

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


@pytest.fixture
def talkative_stdin() -> Iterator[None]:
    """A standard input with an answer in it, for a converter that asks whether to run a checkpoint's code."""
    read_end, write_end = os.pipe()
    os.write(write_end, b"yes\n")
    os.close(write_end)
    saved = os.dup(0)
    os.dup2(read_end, 0)
    yield
    os.dup2(saved, 0)
    os.close(saved)
    os.close(read_end)


@pytest.mark.usefixtures("talkative_stdin")
def test_the_converter_is_asked_offline(tmp_path: Path) -> None:
    llama_cpp = fake_llama_cpp(
        tmp_path / "llama",
        "out = sys.argv[sys.argv.index('--outfile') + 1]\n"
        "seen = [sys.argv[1:], os.environ['HF_HUB_OFFLINE'], os.environ['TRANSFORMERS_OFFLINE'], sys.stdin.read()]\n"
        "json.dump(seen, open(out, 'w')); print('done')\n",
    )
    out = tmp_path / "x.gguf"
    to_gguf(tmp_path / "model; rm -rf", out, "q8_0", llama_cpp, name="a name", log=tmp_path / "log")
    argv, *environment = json.loads(out.read_text())
    assert argv == [
        str(tmp_path / "model; rm -rf"),
        *("--outtype", "q8_0", "--outfile", str(out), "--model-name", "a name"),
    ]
    assert environment == ["1", "1", ""]
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize(
    "ending",
    ["sys.exit(3)", "open(sys.argv[5], 'w').close(); sys.exit(3)", "pass"],
    ids=["status 3", "status 3 and a file", "no file"],
)
def test_a_failure_shows_the_last_lines_and_keeps_the_log(tmp_path: Path, ending: str) -> None:
    script = f"for n in range(50): print('line', n, file=sys.stderr)\n{ending}\n"
    llama_cpp = fake_llama_cpp(tmp_path / "llama", script)
    log = tmp_path / "kept.log"
    with pytest.raises(SmoothdroidError, match=r"on model; .*kept.log\n  line 42\n(.*\n)*  line 49$") as raised:
        to_gguf(tmp_path / "model", tmp_path / "x.gguf", "q8_0", llama_cpp, name="n", log=log)
    assert "line 41" not in str(raised.value)
    assert log.read_text().startswith("line 0\n")


def test_a_folder_without_converter_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no convert_hf_to_gguf\.py there"):
        to_gguf(tmp_path, tmp_path / "x.gguf", "q8_0", tmp_path, name="n", log=tmp_path / "log")


def test_the_id_follows_the_converters_code(tmp_path: Path) -> None:
    one = converter_id(fake_llama_cpp(tmp_path / "one", "pass\n"))
    same = fake_llama_cpp(tmp_path / "two", "pass\n")
    assert converter_id(same) == one
    (same / "conversion" / "base.py").write_text("x = 2\n")
    assert converter_id(same) != one
