"""The commands: each parses its options, calls a function and prints; nothing else prints or exits."""

from __future__ import annotations

import sys

from smoothdroid.device.common import system

if sys.platform == "win32":  # the imports below fail without modules of Unix
    raise SystemExit(f"smoothdroid runs on Linux, so on Windows in WSL: {system.this().fix('system')}")

# isort: off
# This is the order of `smoothdroid --help`.
from smoothdroid.host.cli import doctor as doctor
from smoothdroid.host.cli import model as model
from smoothdroid.host.cli import evaluate as evaluate
from smoothdroid.host.cli import build as build
from smoothdroid.host.cli import phones as phones
from smoothdroid.host.cli import deploy as deploy
from smoothdroid.host.cli import jobs as jobs
from smoothdroid.host.cli import bench as bench
from smoothdroid.host.cli import run as run
from smoothdroid.host.cli import results as results
from smoothdroid.host.cli import predict as predict
from smoothdroid.host.cli import farm as farm

# isort: on
from smoothdroid.host.cli.command import app, main

__all__ = ["app", "main"]
