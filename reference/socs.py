"""The SoCs that are known, with the source of each figure."""

from __future__ import annotations

from reference.markdown import code, page, plain, table
from smoothdroid.device.info import socs


def write() -> str:
    """The page."""
    rows, cores = socs.everything(), {part.core.name: part.core for row in socs.everything() for part in row.clusters}
    return page(
        "# SoCs",
        "Written from `device/info/data/socs.toml` and `cores.toml` beside it. The peak is what the DRAM can deliver: "
        "transfers a second times the width of the bus, which no access pattern reaches. "
        "[What follows from it](../predictions.md). A phone whose SoC is not here is measured like any other, and its "
        "results are not held against a peak.",
        table(
            ["SoC", "As phones call it", "Peak, GB/s", "DRAM", "Source"],
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
        "## Their cores",
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
        "## What a core computes in a cycle",
        table(
            ["Core", "Vector operations of 128 bits", "Widest for 8-bit integers", "Source"],
            [[plain(core.name), str(core.pipes), code(core.int8), plain(core.source)] for core in cores.values()],
        ),
    )
