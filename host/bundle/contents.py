"""The contents of a bundle: builds, models, licences, scripts, and generated files."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.host.bundle import archive
from smoothdroid.host.bundle.archive import Entry
from smoothdroid.host.gguf.artifact import Artifact
from smoothdroid.host.llamacpp import compile as compiler
from smoothdroid.host.llamacpp.command_lines import TEMPLATE_TOKENS
from smoothdroid.host.llamacpp.compile import Build
from smoothdroid.host.llamacpp.source import Source
from smoothdroid.host.llamacpp.variants import EVERY_LEVEL, SHARED, VARIANTS, Variant

PHONE = Path(__file__).with_name("phone")
TOOLS = ("llama-completion", "llama-bench")  # to run prompts, and to measure without smoothdroid

UNPACK = {
    # Termux comes with tar and gzip, but not always with zstd.
    ".tar.zst": "pkg install zstd\nzstd -dc {archive} | tar -xf -",
    ".tar.gz": "tar -xzf {archive}",
    ".tar": "tar -xf {archive}",
}


@dataclass(frozen=True)
class Contents:
    """The builds, models and licences of a bundle."""

    builds: Sequence[Build]
    """Builds of one ABI and one llama.cpp, one for each ISA level."""
    models: Sequence[Artifact]
    """GGUF files; run.sh uses the first by default."""
    licences: Mapping[str, Path]
    """The text of each licence, by name."""


def wanted(abi: str, *, shared: bool) -> list[Variant]:
    """Return the builds that serve every phone of an ABI: one with all ISA levels (`shared`), or one for each level.

    Raises BadInput for an ABI that phones do not have.
    """
    known = [variant.abi for variant in SHARED]
    if abi not in known:
        raise BadInput(f"--abi {abi}: a bundle is for phones, which have {' or '.join(known)}")
    return [variant for variant in (SHARED if shared else VARIANTS) if variant.abi == abi]


def built(abi: str, source: Source) -> list[Build]:
    """Return the existing builds of `source` for `abi`: the one with all levels, or those of single levels.

    Raises BadInput when there is none.
    """
    for shared in (True, False):
        if found := [build for variant in wanted(abi, shared=shared) if (build := compiler.find([variant], source))]:
            return found
    raise BadInput(f"llama.cpp has not been built for {abi}: leave out --built-only to build it")


def check_tools(builds: Sequence[Build]) -> None:
    """Raise BadInput when one of the builds has no llama-completion."""
    for build in builds:
        if TOOLS[0] not in build.manifest.tools:
            raise BadInput(
                f"the build in {build.folder} has no {TOOLS[0]}: remove that folder, and build it again with "
                f"`smoothdroid build --abi {build.manifest.abi} --isa {build.manifest.isa}`"
            )


def not_built(contents: Contents) -> list[str]:
    """Return the ISA levels that the bundle lacks."""
    there = {build.manifest.isa for build in contents.builds}
    if EVERY_LEVEL in there:
        return []
    return [level.isa for level in wanted(contents.builds[0].manifest.abi, shared=False) if level.isa not in there]


def best_first(builds: Sequence[Build]) -> list[tuple[Variant, Build]]:
    """Return the builds with their variants, the most demanding first."""
    of = {(build.manifest.abi, build.manifest.isa): build for build in builds}
    rows = (*SHARED, *reversed(VARIANTS))
    return [(variant, of[key]) for variant in rows if (key := (variant.abi, variant.isa)) in of]


def unpack_lines(output: Path) -> list[str]:
    """Return the commands that unpack `output` in Termux, in its own folder."""
    name = archive.stem(output)
    return UNPACK[output.name.removeprefix(name)].format(archive=shlex.quote(output.name)).splitlines()


def entries(contents: Contents, output: Path) -> list[Entry]:
    """Return every file of the bundle `output`. Raises BadInput for models with the same name or with unsafe names."""
    models = _models(contents.models)
    packed = [
        *_binaries(contents.builds),
        *models,
        *(_of_file(f"licences/{name}", path) for name, path in contents.licences.items()),
        _script("run.sh", TEMPLATE_TOKENS=str(TEMPLATE_TOKENS)),
        _script("bin/level.sh"),
        _script("bin/threads.sh"),
        _text("bin/levels", levels(contents.builds)),
        _text("bundle.json", json.dumps(facts(contents), indent=2, ensure_ascii=False) + "\n"),
        _text("README.md", _readme(contents, output)),
    ]
    if models:
        packed.append(_text("models/default", f"{contents.models[0].path.name}\n"))
    return [*packed, _text("sha256sums", _sums(packed))]


def levels(builds: Sequence[Build]) -> str:
    """Return the table that level.sh reads, from the variants of host/llamacpp/variants.py."""
    return "".join(f"{variant.isa} {' '.join(sorted(variant.needs))}\n" for variant, _ in best_first(builds))


def facts(contents: Contents) -> dict[str, object]:
    """Return the content of bundle.json: the origin of everything in the bundle."""
    return {
        "schema_version": 1,
        "llama_cpp": contents.builds[0].manifest.commit,
        "abi": contents.builds[0].manifest.abi,
        "builds": [build.manifest.model_dump(mode="json") for _, build in best_first(contents.builds)],
        "models": [
            {"name": model.path.name, "sha256": model.sha256, "size_bytes": model.size_bytes}
            for model in contents.models
        ],
    }


def _binaries(builds: Sequence[Build]) -> list[Entry]:
    """Return each build's tools and libraries, in the folder that run.sh makes LD_LIBRARY_PATH."""
    packed = []
    for build in builds:
        tools = {tool: sha256 for tool, sha256 in build.manifest.tools.items() if tool in TOOLS}
        for name, sha256 in (tools | build.manifest.libraries).items():
            file = build.tool(name)
            packed.append(Entry(f"bin/{build.manifest.isa}/{name}", file, executable=name in tools, sha256=sha256))
    return packed


def _models(models: Sequence[Artifact]) -> list[Entry]:
    names = [model.path.name for model in models]
    for name in names:
        if names.count(name) > 1:
            raise BadInput(f"two of the models are called {name}: rename one, they share a folder in the bundle")
        # sha256sum escapes these characters in its own way, and a terminal may interpret them.
        if not name.isprintable() or "\\" in name:
            raise BadInput(f"{name!r} has a character that a bundle cannot contain: rename the file")
    return [Entry(f"models/{model.path.name}", model.path, sha256=model.sha256) for model in models]


def _of_file(name: str, path: Path) -> Entry:
    return Entry(name, path, sha256=sha256_of(path))


def _text(name: str, text: str, *, executable: bool = False) -> Entry:
    data = text.encode()
    return Entry(name, data, executable=executable, sha256=hashlib.sha256(data).hexdigest())


def _filled(file: str, values: Mapping[str, str]) -> str:
    """Return a template of phone/ with each @NAME@ replaced; dollars and braces belong to the shell."""
    return re.sub("@([A-Z_]+)@", lambda name: values[name[1]], (PHONE / file).read_text(encoding="utf-8"))


def _script(name: str, **values: str) -> Entry:
    return _text(name, _filled(Path(name).name, values), executable=True)


def _readme(contents: Contents, output: Path) -> str:
    lines = []
    for variant, build in best_first(contents.builds):
        tools = ", ".join(tool for tool in TOOLS if tool in build.manifest.tools)
        libraries = ", and libraries, of which llama.cpp loads the best kernels" if build.manifest.libraries else ""
        lines.append(f"- `bin/{variant.isa}/`: {tools}{libraries}, for CPUs with {' '.join(sorted(variant.needs))}")
    lines += [f"- `models/{model.path.name}`: {model.size_bytes / 1e6:.0f} MB" for model in contents.models]
    lines += [] if contents.models else ["- no model: `./run.sh -m FILE` takes any `.gguf` file"]
    first = contents.builds[0].manifest
    return _filled(
        "README.md",
        {
            "FOLDER": archive.stem(output),
            "CD": shlex.quote(archive.stem(output)),
            "ARCHIVE": output.name,
            "COMMIT": first.commit,
            "ABI": first.abi,
            "UNPACK": "\n".join(unpack_lines(output)),
            "MODEL": "" if contents.models else "-m ../MODEL.gguf ",
            "CONTENTS": "\n".join(lines),
        },
    )


def _sums(packed: Sequence[Entry]) -> str:
    return "".join(f"{entry.sha256}  {entry.name}\n" for entry in sorted(packed, key=lambda entry: entry.name))
