"""The static programs ask Android's kernel for nothing that its filter for apps kills a process for (SIGSYS)."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from smoothdroid.device.virtual.host import QEMU
from smoothdroid.host.llamacpp import compile as compiler
from smoothdroid.host.llamacpp import source, variants
from tests.host.tiny_gguf import Q8_0, write_llama

pytestmark = pytest.mark.e2e

_BIONIC = """
    brk clock_getres clock_gettime clock_nanosleep clone close dup dup3 exit exit_group fadvise64 fcntl fstat fstatfs
    ftruncate futex getcwd getdents64 getpid getppid getrandom gettid getuid geteuid getgid getegid gettimeofday ioctl
    lseek madvise mincore mmap mprotect mremap munmap nanosleep newfstatat openat pipe2 ppoll prctl pread64 preadv
    pwrite64 read readlinkat readv rt_sigaction rt_sigprocmask rt_sigreturn rt_tgsigqueueinfo sched_getaffinity
    sched_getparam sched_getscheduler sched_setaffinity sched_yield set_tid_address sigaltstack sysinfo tgkill tkill
    uname wait4 write writev
"""
ALLOWED = set(_BIONIC.split())
"""System calls of arm64 that bionic makes itself, so that no app's filter can be without (bionic's SYSCALLS.TXT)."""


@pytest.mark.fault(
    "Android's filter for apps kills what makes a system call that bionic does not make (zig #14146)",
    transport="ssh",
    outcome="the static programs make none",
)
@pytest.mark.parametrize("tool", ["llama-bench", "llama-completion"])
def test_a_static_program_makes_only_calls_that_apps_may_make(tool: str, tmp_path: Path) -> None:
    """Traced by qemu: what a library does only on a real phone's kernel is not seen here."""
    wanted = [variants.find("arm64-v8a", isa) for isa in ("v8.0", "i8mm")]
    built = compiler.find(wanted, source.pinned(), static=True)
    if built is None:
        pytest.fail("this test traces a static arm64 program: `smoothdroid build --isa v8.0`")
    model = write_llama(tmp_path / "tiny.gguf", Q8_0)
    lengths = ["-p", "4", "-n", "2", "-r", "1"] if tool == "llama-bench" else ["-p", "a", "-n", "2", "-no-cnv"]
    command = [str(QEMU), "-strace", str(built.tool(tool)), "-m", str(model), "-t", "2", *lengths]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=300)
    called = set(re.findall(r"^\d+ ([a-z_][a-z0-9_]*)\(", done.stderr, re.MULTILINE))
    assert {"mmap", "openat", "exit_group"} <= called, "it was traced to its end"
    assert called <= ALLOWED, f"status {done.returncode}"
