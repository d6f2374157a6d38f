"""A server that starts Python modules in processes which have torch and transformers loaded already.

    python -m tests.warm_python SOCKET

To load both takes seconds, and many tests start processes that do. `client` writes a program that stands in for the
Python interpreter: given `-m MODULE ARGUMENT...`, it has the server run the module in a process forked from it, with
the client's own files, folder and environment. The client ends with that process's status; if the client is killed,
so is the process.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import traceback
from pathlib import Path

FILES = 3
"""Standard input, output and error."""

LOADED = (
    "torch",
    "transformers.models.llama.modeling_llama",
    "smoothdroid.host.model.calibration.smooth_checkpoint",
    "smoothdroid.host.model.convert.llama_converter",
)

CLIENT = """\
#!{python} -SE
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({path!r})
job = [sys.argv[1:], os.getcwd(), dict(os.environ)]
socket.send_fds(server, [b"0"], range({files}))
server.sendall(json.dumps(job).encode() + b"\\n")
sys.exit(int(server.makefile().read()))
"""


def client(program: Path, path: Path) -> None:
    """Write the program that stands in for Python, to be used with the server at the socket `path`."""
    program.write_text(CLIENT.format(python=sys.executable, path=str(path), files=FILES), encoding="utf-8")
    program.chmod(0o700)


def serve(path: str) -> None:
    """Answer clients, each from a process of its own, until this process is terminated."""
    for name in LOADED:
        __import__(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        while True:
            connection, _ = server.accept()
            with connection:
                if not os.fork():
                    server.close()
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    _answer(connection)
                    os._exit(0)


def _answer(connection: socket.socket) -> None:
    _, files, _, _ = socket.recv_fds(connection, 1, FILES)
    argv, folder, environment = json.loads(connection.makefile().readline())
    process = os.fork()
    if not process:
        connection.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        os._exit(_run(argv))
    for file in files:
        os.close(file)
    ended = os.pidfd_open(process)
    if ended not in select.select([connection.fileno(), ended], [], [])[0]:
        os.kill(process, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    with contextlib.suppress(OSError):
        connection.sendall(str(status).encode())


def _run(argv: list[str]) -> int:
    """Do what Python does with `-m MODULE ARGUMENT...`; returns its exit status."""
    option, module, *arguments = argv
    assert option == "-m", argv
    sys.argv = [module, *arguments]
    sys.path[0] = os.getcwd()
    status = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        status = int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status


if __name__ == "__main__":
    serve(sys.argv[1])
