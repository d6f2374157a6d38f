"""The commands. Each parses, calls one function and prints; nothing else prints or exits."""

from __future__ import annotations

import sys

from device import system

if sys.platform == "win32":  # else it would fall over the first module of Unix that it imports
    raise SystemExit(f"smoothdroid runs on Linux, so on Windows in WSL: {system.this().mend('system')}")

# isort: off
# This is the order of `smoothdroid --help`.
from host.cli import doctor as doctor
from host.cli import model as model
from host.cli import build as build
from host.cli import phones as phones
from host.cli import deploy as deploy
from host.cli import jobs as jobs
from host.cli import bench as bench
from host.cli import run as run
from host.cli import results as results
from host.cli import predict as predict
from host.cli import farm as farm

# isort: on
from host.cli.command import app, main

__all__ = ["app", "main"]
