"""A static arm64 program as the only process of a virtual machine whose clock counts instructions.

qemu-system-aarch64 with `-icount shift=0`: each instruction of the one CPU is a nanosecond of the guest's time, so what
a program says of its own time is the number of instructions that it and the kernel beneath it took. Deterministic up
to the kernel's own work; how long an instruction takes a real core, and what it waits for memory, is not in it.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from smoothdroid.device.common.file_hash import sha256_of

SUITE = "bookworm"
KERNEL = "linux-image-cloud-arm64"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
CPU = "max,sve=off,sme=off"  # dotprod, fp16 and i8mm, as phones since 2022; most of them let no program use SVE
MEMORY_MB = 1400
TIMEOUT_S = 3600


def kernel(folder: Path) -> Path:
    """Return Debian's arm64 kernel in `folder`. If it is missing, apt fetches it and checks Debian's signatures."""
    known = sorted(folder.glob("unpacked/boot/vmlinuz-*"))
    if known:
        return known[-1]
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True)
    sources = folder / "sources.list"
    sources.write_text(f"deb [signed-by={KEYRING}] http://deb.debian.org/debian {SUITE} main\n", encoding="utf-8")
    options = {
        "Dir::State::lists": folder / "lists",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "-",
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
    }
    configured = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]

    def apt(tool: str, *arguments: str) -> str:
        done = subprocess.run(
            [tool, *configured, *arguments], cwd=folder, check=True, stdout=subprocess.PIPE, text=True
        )
        return done.stdout

    apt("apt-get", "--quiet=2", "update")
    depends = apt("apt-cache", "depends", KERNEL)
    package = next(line.split()[-1] for line in depends.splitlines() if "Depends: linux-image" in line)
    apt("apt-get", "--quiet=2", "download", package)
    (deb,) = folder.glob(f"{package}_*.deb")
    subprocess.run(["dpkg-deb", "-x", str(deb), str(folder / "making")], check=True)
    (folder / "making").rename(folder / "unpacked")
    return kernel(folder)


def run(kernel_image: Path, program: Path, arguments: list[str], files: dict[str, Path], folder: Path) -> str:
    """Run `program` as process 1 and return its console output; `files` are copied into the guest's root by name."""
    qemu = shutil.which("qemu-system-aarch64")
    if qemu is None:
        raise SystemExit("qemu-system-aarch64 is missing: apt-get install --no-install-recommends qemu-system-arm")
    root = _root({"program": program, **files}, folder)
    command = [
        qemu,
        "-M",
        "virt,dtb-randomness=off",
        "-cpu",
        CPU,
        "-smp",
        "1",
        "-m",
        str(MEMORY_MB),
        "-icount",
        "shift=0,sleep=off",
    ]
    command += ["-rtc", "clock=vm,base=2026-01-01", "-nodefaults", "-nographic", "-no-reboot", "-serial", "stdio"]
    # When the program ends, so does process 1: the kernel panics, and qemu ends instead of starting again.
    words = ["console=ttyAMA0", "rdinit=/program", "panic=-1", "quiet", "--", *arguments]
    command += ["-kernel", str(kernel_image), "-initrd", str(root), "-append", " ".join(words)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, check=True)
    return done.stdout.replace("\r\n", "\n")


def _root(files: dict[str, Path], folder: Path) -> Path:
    """Return an initramfs, a cpio archive in the kernel's `newc` format, cached by the hash of its content."""
    name = "-".join(sha256_of(path)[:12] for path in files.values())
    archive = folder / f"{name}.cpio"
    if not archive.exists():
        making = archive.with_suffix(".part")
        with making.open("wb") as out:
            out.write(_member(1, "dev", 0o040755, b""))
            out.write(_member(2, "dev/console", 0o020600, b"", device=(5, 1)))
            for number, (inside, path) in enumerate(files.items(), 3):
                out.write(_member(number, inside, 0o100755, path.read_bytes()))
            out.write(_member(0, "TRAILER!!!", 0, b""))
        making.rename(archive)
    return archive


def _member(number: int, name: str, mode: int, content: bytes, device: tuple[int, int] = (0, 0)) -> bytes:
    """Return a member in the format of the kernel's Documentation/driver-api/early-userspace/buffer-format.rst."""
    named = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(named), 0)
    head = b"070701" + b"".join(b"%08X" % value for value in fields) + named
    return head + b"\0" * (-len(head) % 4) + content + b"\0" * (-len(content) % 4)
