"""The page of known SoCs, with the source of each figure."""

from __future__ import annotations

from reference.markdown import code, page, plain, table
from smoothdroid.device.info import socs


def write() -> str:
    """Return the page."""
    rows, cores = socs.everything(), {part.core.name: part.core for row in socs.everything() for part in row.clusters}
    return page(
        "# SoCs",
        "Generated from `device/info/data/socs.toml` and `cores.toml` in the same folder. The peak is the theoretical "
        "bandwidth of the DRAM: transfers per second times the width of the bus, which no access pattern reaches. "
        "[Its consequences](../predictions.md). A phone whose SoC is not listed is measured like any other, but its "
        "results are not compared with a peak.",
        table(
            ["SoC", "Names in phones", "Peak, GB/s", "DRAM", "Source"],
            [
                [
                    plain(row.name),
                    ", ".join(map(code, row.codes)),
                    f"{row.peak_gb_s:g}",
                    plain(row.dram),
                    plain(row.dram_source),
                ]
                for row in rows
            ],
        ),
        "## Cores of each SoC",
        table(
            ["SoC", "Cores, highest clock", "Source"],
            [
                [
                    plain(row.name),
                    ", ".join(f"{part.cores} × {part.core.name} {part.ghz:g} GHz" for part in row.clusters),
                    plain(row.clusters_source),
                ]
                for row in rows
                if row.clusters
            ],
        ),
        "## Operations of a core per cycle",
        table(
            ["Core", "Vector operations of 128 bits", "Widest for 8-bit integers", "Source"],
            [[plain(core.name), str(core.pipes), code(core.int8), plain(core.source)] for core in cores.values()],
        ),
    )
