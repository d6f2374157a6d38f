"""The options of `smoothdroid bench` that llama-bench has too, in its spelling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from smoothdroid.host import cli


def commands(group: Any) -> Iterator[tuple[str, Any]]:
    """Every command, also those of groups, by its name."""
    for name, command in group.commands.items():
        yield from commands(command) if hasattr(command, "commands") else [(name, command)]


def parsed(*words: str) -> dict[str, Any]:
    """The parameters that the real command line gives to `bench`."""
    group = typer.main.get_command(cli.app)
    bench = group.get_command(typer.Context(group), "bench")  # type: ignore[attr-defined]
    parameters: dict[str, Any] = bench.make_context("bench", ["m.gguf", *words]).params
    return parameters


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["-t", "1,2"], "threads", "1,2"),
        (["-t1-8*2"], "threads", "1-8*2"),
        (["-p", "128-512+128"], "prompt", "128-512+128"),
        (["-n", "0"], "generate", "0"),
        (["-r", "5"], "repetitions", 5),
        (["-d", "0,4096"], "depth", "0,4096"),
        (["-b", "256"], "batch", "256"),
        (["-ub", "128,512"], "ubatch", "128,512"),
        (["-ctk", "f16,q8_0"], "cache_k", "f16,q8_0"),
        (["-ctv", "q4_0"], "cache_v", "q4_0"),
        (["-fa", "on"], "flash_attention", "on"),
        (["-lm=off"], "mmap", "off"),
        (["--cache-k", "q8_0"], "cache_k", "q8_0"),
        (["--flash-attention=off"], "flash_attention", "off"),
    ],
)
def test_an_option_is_read_as_llama_bench_reads_it(words: list[str], name: str, value: object) -> None:
    assert parsed(*words)[name] == value


def test_short_options_stand_beside_each_other() -> None:
    found = parsed("-b", "256", "-ub", "128", "-t", "4", "-p", "16", "-o", "there", "-fa", "on", "-d", "8")
    names = ("batch", "ubatch", "threads", "prompt", "flash_attention", "depth")
    assert [found[name] for name in names] == ["256", "128", "4", "16", "on", "8"]
    assert str(found["output"]) == "there"


def test_what_is_not_given_is_left_out() -> None:
    assert {parsed()[name] for name in ("depth", "batch", "cache_k", "mmap")} == {None}


def test_every_command_that_takes_a_phone_takes_the_options_of_ssh() -> None:
    options = {
        name: {parameter.name for parameter in command.params}
        for name, command in commands(typer.main.get_command(cli.app))
    }
    on_phones = {name for name, names in options.items() if "on" in names}
    assert {"bench", "devices", "doctor", "evaluate", "check", "jobs", "worker"} < on_phones
    assert {name for name, names in options.items() if names & {"ssh_key", "known_hosts"}} == on_phones
