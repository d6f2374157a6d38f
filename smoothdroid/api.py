"""The Python API: prepare, build, phones, bench, read, query, compare and report as functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smoothdroid.cell_result import CellResult
from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.info.phone import Phone, describe
from smoothdroid.device.transport.resolve import open_target
from smoothdroid.device.transport.ssh import SshOptions

if TYPE_CHECKING:
    from smoothdroid.host.compare.comparison import ComparedResults
    from smoothdroid.host.farm.bench_call import Display
    from smoothdroid.host.llamacpp.compile import Build
    from smoothdroid.host.llamacpp.source import Source
    from smoothdroid.host.model.prepare import Prepared
    from smoothdroid.host.model.prepare_settings import PrepareSettings

OnStep = Callable[[str], None]
"""Receives a sentence for each step of a long call."""


def _silent(_step: str) -> None:
    """Show no step."""


def _llama_cpp(folder: str | Path | None) -> Source:
    """Return the llama.cpp checkout in `folder`, or the pinned source."""
    from smoothdroid.host.bench.builds import llama_cpp_source

    return llama_cpp_source(Path(folder) if folder else None)


def prepare(
    model: str | Path,
    output: str | Path,
    settings: PrepareSettings | None = None,
    *,
    llama_cpp: str | Path | None = None,
    on_step: OnStep = _silent,
) -> list[Prepared]:
    """Apply SmoothQuant to a checkpoint and write GGUF files into the folder `output`.

    Without `settings` it writes the smoothed Q8_0 file with alpha 0.5. Each result has `path` and `manifest`; a file
    that exists already, made from the same model with the same settings, is `reused`. Needs the extra `model`.
    Raises SmoothdroidError where the model cannot be prepared.
    """
    from smoothdroid.host.bench.builds import build_for_this_machine
    from smoothdroid.host.llamacpp import source
    from smoothdroid.host.model import prepare as preparation

    origin = source.unpacked(_llama_cpp(llama_cpp))
    built = build_for_this_machine(origin)
    return preparation.prepare(
        Path(model),
        Path(output),
        settings,
        llama_cpp=origin.folder,
        llama_cpp_id=origin.id,
        llama_bench=built.tool("llama-bench") if built else None,
        llama_quantize=built.tool("llama-quantize") if built else None,
        on_step=on_step,
    )


def build(
    on: str | None = None,
    *,
    abi: str | None = None,
    isa: str | None = None,
    llama_cpp: str | Path | None = None,
    jobs: int = 2,
) -> list[Build]:
    """Compile llama.cpp for the phone at the target `on`, or for an ABI (`host`: this machine); builds are cached.

    Without `isa`, a phone gets the best ISA level that it can run, and an ABI every level. Raises BadInput for an
    unknown ABI or level, SmoothdroidError where the compiler fails.
    """
    from smoothdroid.host.bench.builds import variants_to_build
    from smoothdroid.host.llamacpp import compile as compiler
    from smoothdroid.host.llamacpp import toolchain

    if (on is None) == (abi is None):
        raise BadInput("name a phone or an ABI: build(on='adb:SERIAL') or build(abi='arm64-v8a')")
    needed_by = []
    if on in ("local", "local:"):
        abi = "host"
    elif on:
        needed_by = [phones(on)[on]]
        abi = needed_by[0].abi
    needed, static = variants_to_build(abi, isa, needed_by)
    origin = _llama_cpp(llama_cpp)
    return [compiler.build(one, origin, toolchain.for_abi(one.abi, static=static), jobs=jobs) for one in needed]


def phones(*targets: str) -> dict[str, Phone]:
    """Return the description of each phone by its target; without targets, of those attached over adb.

    Raises NoPhone where a phone cannot be reached.
    """
    from smoothdroid.device.transport import adb

    described = {}
    for target in targets or [f"adb:{serial}" for serial in adb.attached()]:
        with closing(open_target(target, SshOptions())) as connection:
            described[target] = describe(connection)
    return described


def bench(
    models: Sequence[str | Path],
    *,
    on: str | Sequence[str],
    output: str | Path = "results",
    isa: str | None = None,
    llama_cpp: str | Path | None = None,
    share: bool = False,
    force: bool = False,
    on_step: OnStep = _silent,
    **options: str | int | float | list[str] | list[int],
) -> list[CellResult]:
    """Measure models (or a plan file) on one or several phones; return the cells of their campaigns.

    `options` are the keys of a plan file, such as `threads=4` or `until="2%"`. Cells that were measured before are not
    measured again. `share` divides the cells among equal phones; `force` tries cells that do not fit in memory.
    Raises SmoothdroidError for a wrong option, and after the other phones are done for a phone that failed.
    """
    from smoothdroid.host.bench import plan
    from smoothdroid.host.bench.builds import binaries_for
    from smoothdroid.host.bench.request import from_command_line
    from smoothdroid.host.farm.bench_call import BenchCall
    from smoothdroid.host.farm.coordinator import Coordinator
    from smoothdroid.host.farm.progress_table import ProgressRow
    from smoothdroid.host.farm.selection import selected

    request = from_command_line([Path(model) for model in models], options)
    plan.check(request)
    builds = binaries_for(isa, _llama_cpp(llama_cpp), force)
    targets = [on] if isinstance(on, str) else on
    with selected(targets, None, SshOptions(), on_step, share=share) as phones:
        call = BenchCall(request, Path(output), builds, _steps(on_step), share=share, force=force)
        results = Coordinator(phones.members, [ProgressRow(phone.name) for phone in phones.members], call).run()
    for result in results:
        if result.error:
            raise result.error
    folders = {result.campaign.folder for result in results if result.campaign}
    return read(*folders) if folders else []


def _steps(on_step: OnStep) -> Display:
    """Return a display that passes on the steps and warnings of all phones."""
    from smoothdroid.host.farm.bench_call import Display

    class Steps(Display):
        def step(self, phone: str, text: str) -> None:
            on_step(f"{phone}: {text}")

        warning = step

    return Steps()


def read(*results: str | Path) -> list[CellResult]:
    """Return the cells of all campaigns in and below these folders, checked by the rules of this version.

    `pandas.DataFrame(smoothdroid.read("results"))` makes a data frame of them. Raises BadInput where a folder has no
    results or a record is damaged.
    """
    from smoothdroid.host.query.tables import CAMPAIGNS, CELLS, rows_of
    from smoothdroid.host.results.record import find_campaigns

    cells = []
    for folder in find_campaigns([Path(place) for place in results]):
        tables = rows_of(folder)
        (campaign,) = tables[CAMPAIGNS.name]
        cells += [CellResult.from_columns({**campaign, **cell}) for cell in tables[CELLS.name]]
    return cells


def query(sql: str, *results: str | Path) -> list[dict[str, Any]]:
    """Return the rows that a SELECT gives over the tables `campaigns`, `cells` and `runs` of these folders.

    Needs the extra `query` (DuckDB). Raises BadInput for wrong SQL and where there are no results.
    """
    from smoothdroid.host.common.optional_packages import need_duckdb

    need_duckdb()
    from smoothdroid.host.query import ask, index
    from smoothdroid.host.results.record import find_campaigns

    ask.check(sql)
    folders = find_campaigns([Path(place) for place in results])
    with index.current(folders) as current, ask.run_query(sql, current) as answer:
        answer.check_names()
        return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows()]


def compare(a: str | Path, b: str | Path | None = None, *, by: str = "", threshold: float = 0.05) -> ComparedResults:
    """Compare two folders of results, or within one folder two values of a setting (`by="threads=4,8"`).

    The result has `pairs`, each with a ratio, its interval and an answer, and `regressions`: the pairs that are
    significantly slower, by more than `threshold`. Raises BadInput where nothing can be compared.
    """
    from smoothdroid.host.compare import matching
    from smoothdroid.host.compare.by import parse

    if (b is None) != bool(by):
        raise BadInput("compare two folders, or one folder with `by`: compare('results', by='threads=4,8')")
    if b is not None:
        return matching.load(Path(a), Path(b), threshold)
    field, values = parse(by)
    return matching.within(Path(a), field, values, threshold)


def report(results: str | Path | Sequence[str | Path], output: str | Path) -> list[Path]:
    """Write a report of these results and evaluations into the folder `output`; return the files written.

    Raises BadInput where there are no results.
    """
    from smoothdroid.host.report.data import report_data
    from smoothdroid.host.report.render.files import write

    places = [results] if isinstance(results, str | Path) else results
    return write(report_data.load([Path(place) for place in places]), Path(output))
