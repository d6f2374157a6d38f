"""Fixtures for all tests."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from playwright.sync_api import Browser, sync_playwright

from smoothdroid.device import virtual
from smoothdroid.device.transport import adb
from smoothdroid.host.llamacpp import compile as compiler
from smoothdroid.host.llamacpp import source, variants

# No test is about time, so a slow machine fails none. The examples are the same in every run, so that no run fails on
# what another change did not touch; HYPOTHESIS_PROFILE=search looks for new ones, and prints how to repeat a failure.
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", settings.get_profile("repeatable"), derandomize=False, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

# Who is started in the background ignores them, and so would all that these tests start and stop.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")

LONGEST = ("tests/e2e/test_faults.py", "tests/e2e/", "tests/device/", "tests/host/model/")
"""Where the tests lie that take longest."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Start the longest files first: what is short fills the processes evenly at the end."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: [not item.nodeid.startswith(start) for start in LONGEST])


@pytest.fixture(scope="session")
def llama_cpp() -> Path:
    """The source tree of llama.cpp."""
    return source.unpacked(source.pinned()).folder


@pytest.fixture(scope="session")
def phone() -> Iterator[virtual.VirtualPhone]:
    """An emulated phone for every test that leaves it as it was."""
    started = virtual.start(f"tests-{os.getpid()}")
    yield started
    adb.disconnect(started.adb_address)
    assert virtual.stop(started.name, erase=True)


# Not for longer than these tests: in its thread an event loop runs, and others want to run theirs.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, to look at pages in."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        pytest.fail("these tests look at pages in Chromium: `scripts/setup --tests` installs it, or set CHROMIUM")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=found)


@pytest.fixture(scope="session")
def llama_quantize() -> Path:
    """The real llama-quantize of this machine."""
    return _host_tool("llama-quantize")


@pytest.fixture(scope="session")
def llama_bench() -> Path:
    """The real llama-bench of this machine."""
    return _host_tool("llama-bench")


@pytest.fixture(scope="session")
def llama_perplexity() -> Path:
    """The real llama-perplexity of this machine."""
    return _host_tool("llama-perplexity")


def _host_tool(name: str) -> Path:
    built = compiler.find([variants.find("host", "native")], source.pinned())
    if built is None:
        pytest.fail(f"these tests run {name}: `smoothdroid build --abi host`")
    return built.tool(name)
