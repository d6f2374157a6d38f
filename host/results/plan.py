"""The plan of a campaign: which cells it has, and the order in which they are measured."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from pydantic import BaseModel, ConfigDict, Field

from smoothdroid.host.gguf.artifact import Artifact
from smoothdroid.host.llamacpp.settings import Options
from smoothdroid.host.results.cell import Cell, Protocol, Test


class Plan(BaseModel):
    """A sweep."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: list[Artifact] = Field(min_length=1)
    tests: list[Test] = Field(min_length=1)
    threads: list[int] = Field(min_length=1)
    masks: list[tuple[int, ...]] = Field(default=[()], min_length=1)
    """CPUs that cells may run on; an empty one: those that Android gives them."""
    options: list[Options] = Field(default=[Options()], min_length=1)
    protocol: Protocol

    def cells(self) -> Iterator[Cell]:
        """All cells, in the order of a table."""
        for setting in self._settings():
            yield from setting

    def turns(self, number: int) -> Iterator[Cell]:
        """All cells as they take turns in a round: settings in an order of their own, the models beside each other.

        So a phone that warms up, or a job in its background, slows no setting and no model in each round alike; and
        two models that are compared are measured within minutes.
        """
        chance = Random(f"{self.protocol.seed} {number}")  # noqa: S311 (no secret)
        settings = list(self._settings())
        chance.shuffle(settings)
        for setting in settings:
            chance.shuffle(setting)
            yield from setting

    def _settings(self) -> Iterator[list[Cell]]:
        """The cells that differ in nothing but the model."""
        for test in self.tests:
            for options in self.options:
                if test.prompt and options.depth:
                    continue  # a prompt begins a conversation
                for cpus in self.masks:
                    for threads in self.threads:
                        if cpus and threads > len(cpus):
                            continue  # they would only wait for each other
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
