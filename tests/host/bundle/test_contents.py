from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.bundle.archive import Entry
from smoothdroid.host.bundle.contents import (
    Contents,
    built,
    check_tools,
    entries,
    facts,
    not_built,
    unpack_lines,
    wanted,
)
from smoothdroid.host.gguf import artifact
from smoothdroid.host.llamacpp import source
from smoothdroid.host.llamacpp.variants import VARIANTS, Variant, find
from tests.host.bundle.builds import build_of
from tests.host.fakes import write_gguf

EVERY = find("arm64-v8a", "all")
I8MM, OLD, TABLET = find("arm64-v8a", "i8mm"), find("arm64-v8a", "v8.0"), find("x86_64", "avx2")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, empty."""
    monkeypatch.setenv("SMOOTHDROID_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def text_of(packed: list[Entry], name: str) -> str:
    (found,) = (entry for entry in packed if entry.name == name)
    assert isinstance(found.source, bytes)
    return found.source.decode()


def contents_of(cache: Path, *models: Path, variants: tuple[Variant, ...] = (OLD, I8MM)) -> Contents:
    return Contents([build_of(variant, cache) for variant in variants], [artifact.inspect(m) for m in models], {})


def test_everything_but_the_sums_is_in_the_sums(cache: Path, tmp_path: Path) -> None:
    licence = tmp_path / "LICENSE"
    licence.write_text("MIT")
    smooth, plain = write_gguf(tmp_path / "smooth.gguf", 1), write_gguf(tmp_path / "plain.gguf", 2)
    contents = contents_of(cache, smooth, plain)
    packed = entries(Contents(contents.builds, contents.models, {"llama.cpp/LICENSE": licence}), Path("x.tar.zst"))
    lines = [line.split("  ", 1) for line in text_of(packed, "sha256sums").splitlines()]
    sums = {name: sha256 for sha256, name in lines}
    assert list(sums) == sorted(sums)
    assert set(sums) == {entry.name for entry in packed} - {"sha256sums"}
    for entry in packed:
        data = entry.source if isinstance(entry.source, bytes) else entry.source.read_bytes()
        assert entry.name == "sha256sums" or sums[entry.name] == hashlib.sha256(data).hexdigest() == entry.sha256
    assert {name for name in sums if name.startswith("bin/")} == {
        *("bin/level.sh", "bin/levels", "bin/threads.sh"),
        *(f"bin/{isa}/{tool}" for isa in ("v8.0", "i8mm") for tool in ("llama-completion", "llama-bench")),
    }
    assert {"licences/llama.cpp/LICENSE", "models/smooth.gguf", "models/plain.gguf"} < set(sums)
    assert text_of(packed, "models/default") == "smooth.gguf\n", "the first that was named"
    runnable = {entry.name for entry in packed if entry.executable}
    assert runnable == {"run.sh", *(name for name in sums if name.startswith("bin/") and name != "bin/levels")}


def test_no_text_is_left_with_a_hole(cache: Path, tmp_path: Path) -> None:
    """A name between two @ is filled in."""
    for models in ([], [write_gguf(tmp_path / "a.gguf")]):
        packed = entries(contents_of(cache, *models, variants=(I8MM,) if models else (OLD,)), Path("llama2-7b.tar.gz"))
        for entry in packed:
            assert isinstance(entry.source, Path) or b"@" not in entry.source, entry.name
        readme = text_of(packed, "README.md")
        assert "tar -xzf llama2-7b.tar.gz\ncd llama2-7b\n" in readme
        assert ('./run.sh "안녕하세요!' in readme) == bool(models)
        assert ("./run.sh -m ../MODEL.gguf" in readme) == (not models)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("x.tar.zst", ["pkg install zstd", "zstd -dc x.tar.zst | tar -xf -"]),
        ("x.tar.gz", ["tar -xzf x.tar.gz"]),
        ("a.tar.gz.tar", ["tar -xf a.tar.gz.tar"]),
        ("o'x 1.tar", ["""tar -xf 'o'"'"'x 1.tar'"""]),
    ],
)
def test_how_to_unpack(name: str, lines: list[str]) -> None:
    assert unpack_lines(Path("some/where") / name) == lines


def test_a_name_that_a_shell_would_take_apart(cache: Path) -> None:
    assert "\ncd 'o x'\n" in text_of(entries(contents_of(cache), Path("o x.tar")), "README.md")


def test_what_everything_was_made_from(cache: Path, tmp_path: Path) -> None:
    model = write_gguf(tmp_path / "한국어.gguf")
    told = json.loads(text_of(entries(contents_of(cache, model), Path("x.tar")), "bundle.json"))
    assert (told["abi"], told["llama_cpp"]) == ("arm64-v8a", source.PINNED_COMMIT)
    assert [build["isa"] for build in told["builds"]] == ["i8mm", "v8.0"], "the best first"
    assert told["models"] == [
        {"name": "한국어.gguf", "sha256": artifact.inspect(model).sha256, "size_bytes": model.stat().st_size}
    ]
    assert str(tmp_path) not in json.dumps(told), "no path of this machine"


def test_models_that_cannot_lie_beside_each_other(cache: Path, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    same = [write_gguf(tmp_path / folder / "m.gguf") for folder in ("one", "two")]
    with pytest.raises(BadInput, match=r"two of the models are called m\.gguf"):
        entries(contents_of(cache, *same), Path("x.tar"))
    for number, name in enumerate(("a\nb.gguf", "a\\b.gguf", "a\x1bb.gguf")):
        with pytest.raises(BadInput, match="rename the file"):
            entries(contents_of(cache / str(number), write_gguf(tmp_path / name)), Path("x.tar"))


def test_every_level_that_was_built_is_taken(cache: Path) -> None:
    with pytest.raises(BadInput, match=r"not been built for arm64-v8a: leave out --built-only to build it"):
        built("arm64-v8a", source.pinned())
    for variant in (I8MM, OLD, TABLET):
        build_of(variant, cache)
    found = built("arm64-v8a", source.pinned())
    assert [build.manifest.isa for build in found] == ["v8.0", "i8mm"]
    assert not_built(Contents(found, [], {})) == ["dotprod", "fp16"]
    assert [build.manifest.isa for build in built("x86_64", source.pinned())] == ["avx2"]


def test_a_build_of_every_level_is_taken_alone_with_its_libraries(cache: Path) -> None:
    build_of(OLD, cache)
    build_of(EVERY, cache, libraries=["libllama.so", "libggml-cpu-android_armv8.6_1.so"])
    (found,) = built("arm64-v8a", source.pinned())
    packed = {entry.name: entry for entry in entries(Contents([found], [], {}), Path("x.tar"))}
    assert {name for name in packed if name.startswith("bin/all/")} == {
        f"bin/all/{name}"
        for name in ("llama-completion", "llama-bench", "libllama.so", "libggml-cpu-android_armv8.6_1.so")
    }
    assert packed["bin/all/llama-bench"].executable
    assert not packed["bin/all/libllama.so"].executable
    assert text_of([*packed.values()], "bin/levels") == "all asimd\n"
    assert "`bin/all/`: llama-completion, llama-bench, and libraries" in text_of([*packed.values()], "README.md")
    assert not_built(Contents([found], [], {})) == []


def test_a_build_without_the_tool_is_bad_input(cache: Path) -> None:
    old = build_of(OLD, cache, tools=["llama-bench"])
    with pytest.raises(BadInput, match=r"has no llama-completion: .* `smoothdroid build --abi arm64-v8a --isa v8\.0`"):
        check_tools([old])


@pytest.mark.parametrize("abi", ["host", "mips", ""])
def test_a_bundle_is_for_phones(abi: str) -> None:
    with pytest.raises(BadInput, match="which have arm64-v8a or x86_64"):
        wanted(abi, shared=False)


def test_names_of_builds_do_not_meet() -> None:
    """In the bundle a build's folder is called as its level."""
    for abi in ("arm64-v8a", "x86_64"):
        names = [variant.isa for variant in VARIANTS if variant.abi == abi]
        assert len(set(names)) == len(names)
        assert not any("/" in name or " " in name for name in names)


def test_facts_do_not_depend_on_the_order_of_builds(cache: Path) -> None:
    builds = [build_of(variant, cache) for variant in (OLD, I8MM)]
    assert facts(Contents(builds, [], {})) == facts(Contents(builds[::-1], [], {}))
