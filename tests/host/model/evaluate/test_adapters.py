from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from gguf import GGUFWriter

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.arithmetic import arithmetic_of
from smoothdroid.host.model.evaluate.adapters import run_with, with_adapters
from smoothdroid.host.model.evaluate.emulated_kernels import EmulatedKernels
from smoothdroid.host.model.evaluate.perplexity import HostKernels
from smoothdroid.host.model.provenance.adapter_manifest import ADAPTER_KEY, AdapterBinding, SourceAdapter

HERE = HostKernels("here", "here", Path("llama-perplexity"))


@dataclass(frozen=True)
class Model:
    path: Path
    name: str
    sha256: str
    size_bytes: int = 100
    bits_per_weight: float = 8.5


PLAIN, SMOOTH = (Model(Path(f"{name}.gguf"), name, name[0] * 64) for name in ("plain", "smooth"))


def adapter(file: Path, base: Model, stored: str | None = None, kind: str = "adapter") -> Path:
    source = SourceAdapter(
        name="lora", files_sha256={}, trained_on=None, rank=4, alpha=8, rank_stabilised=False, n_modules=2
    )
    binding = AdapterBinding(source=source, base=base.path.name, base_sha256=base.sha256, llama_cpp="b1", versions={})
    writer = GGUFWriter(file, "llama")
    writer.add_string("general.type", kind)
    if stored != "":
        writer.add_string(ADAPTER_KEY, stored or binding.model_dump_json())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return file


def test_each_adapter_goes_with_its_own_base(tmp_path: Path) -> None:
    of_smooth = adapter(tmp_path / "a.gguf", SMOOTH)
    models, adapters = with_adapters([PLAIN, SMOOTH], [of_smooth])
    assert adapters == {SMOOTH.path: of_smooth}
    assert [model.name for model in models] == ["plain", "smooth+a"]
    assert models[0] is PLAIN
    assert models[1].sha256 not in (PLAIN.sha256, SMOOTH.sha256), "results would be taken for the base's"
    assert models[1].size_bytes == 100 + of_smooth.stat().st_size
    kernels = run_with(HERE, adapters)
    assert isinstance(kernels, HostKernels)
    assert kernels.adapters == adapters
    assert run_with(HERE, {}) is HERE


def test_adapters_that_are_refused(tmp_path: Path) -> None:
    of_smooth = adapter(tmp_path / "a.gguf", SMOOTH)
    with pytest.raises(BadInput, match=r"was made for smooth\.gguf .*none of the candidates"):
        with_adapters([PLAIN], [of_smooth])
    with pytest.raises(BadInput, match=r"were both made for smooth\.gguf"):
        with_adapters([SMOOTH], [of_smooth, adapter(tmp_path / "b.gguf", SMOOTH)])
    with pytest.raises(BadInput, match="does not say which base it fits"):
        with_adapters([SMOOTH], [adapter(tmp_path / "c.gguf", SMOOTH, stored="")])
    with pytest.raises(BadInput, match="another version of smoothdroid wrote it"):
        with_adapters([SMOOTH], [adapter(tmp_path / "d.gguf", SMOOTH, stored="{}")])
    with pytest.raises(BadInput, match="this GGUF is no adapter"):
        with_adapters([SMOOTH], [adapter(tmp_path / "e.gguf", SMOOTH, kind="model")])
    with pytest.raises(BadInput, match="not emulated"):
        run_with(EmulatedKernels(arithmetic_of("ggml")), {SMOOTH.path: of_smooth})
