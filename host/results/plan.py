"""The plan of a campaign: its cells, and the order in which they are measured."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from pydantic import Field

from smoothdroid.host.gguf.artifact import Artifact
from smoothdroid.host.llamacpp.settings import Options
from smoothdroid.host.results.cell import Cell, Protocol, Strict, Test


class Plan(Strict):
    """A plan: every combination of its lists is a cell."""

    models: list[Artifact] = Field(min_length=1)
    tests: list[Test] = Field(min_length=1)
    threads: list[int] = Field(min_length=1)
    masks: list[tuple[int, ...]] = Field(default=[()], min_length=1)
    """The CPU masks; an empty one leaves the CPUs to Android."""
    options: list[Options] = Field(default=[Options()], min_length=1)
    protocol: Protocol

    def cells(self) -> Iterator[Cell]:
        """Yield all cells, in the order of a table."""
        for setting in self._settings():
            yield from setting

    def turns(self, number: int) -> Iterator[Cell]:
        """Yield all cells in the order of a round: settings are shuffled, and the models of a setting are adjacent.

        A phone that warms up, or a job in its background, then slows no setting or model in every round; and two
        models that are compared are measured within minutes.
        """
        chance = Random(f"{self.protocol.seed} {number}")  # noqa: S311 (no secret)
        settings = list(self._settings())
        chance.shuffle(settings)
        for setting in settings:
            chance.shuffle(setting)
            yield from setting

    def _settings(self) -> Iterator[list[Cell]]:
        """Yield the cells of each setting, which differ only in the model."""
        for test in self.tests:
            for options in self.options:
                if test.prompt and options.depth:
                    continue  # a prompt begins a conversation
                for cpus in self.masks:
                    for threads in self.threads:
                        if cpus and threads > len(cpus):
                            continue  # more threads than CPUs would only wait for each other
                        yield [
                            Cell(
                                model=model.name,
                                model_sha256=model.sha256,
                                test=test,
                                threads=threads,
                                cpus=cpus,
                                options=options,
                                protocol=self.protocol,
                            )
                            for model in self.models
                        ]
