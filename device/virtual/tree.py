"""The read-only root tree of all emulated phones: Debian's adbd, sshd, mksh and toybox laid out like Android.

It is built once, from Debian's signed packages, and cached under a hash of its inputs.
"""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from smoothdroid.device.common.cache_folder import cache_root
from smoothdroid.device.common.errors import SmoothdroidError
from smoothdroid.device.common.lock import exclusive
from smoothdroid.device.virtual.host import KEYRING, as_root, kill_as_root, start_as_root

SUITE = "trixie"
PACKAGES = ("adbd", "coreutils", "libc-bin", "mksh", "openssh-server", "original-awk", "toybox")
LAYOUT = 2
"""The version of the layout, to be increased when the code below changes it."""

ADBD = "usr/lib/android-sdk/platform-tools/adbd"

_PROGRAMS = {
    ADBD: ADBD,
    "usr/sbin/sshd": "usr/sbin/sshd",
    "usr/lib/openssh/sshd-session": "usr/lib/openssh/sshd-session",
    "usr/lib/openssh/sshd-auth": "usr/lib/openssh/sshd-auth",
    "usr/bin/mksh": "system/bin/sh",
    "usr/bin/toybox": "system/bin/toybox",
    "usr/bin/original-awk": "system/bin/awk",  # the awk that Android has too
    "usr/bin/dd": "system/bin/dd",
}
"""The path of a program in Debian's package -> its path on the phone."""

_LOADERS = {"x86_64": "usr/lib64/ld-linux-x86-64.so.2", "aarch64": "usr/lib/ld-linux-aarch64.so.1"}

_LOCALE = "usr/lib/locale/C.utf8"
"""The locale in which Debian's tools read all text as UTF-8, as Android's do; mksh prints an error without it."""

_SCRIPTS = Path(__file__).parent / "system_bin"
"""The scripts that replace commands of Android which Debian lacks, or which would report the workstation."""

_ANDROID_TOOLS = """
[ acpi base64 basename blkdiscard blkid blockdev cal cat chattr chgrp chmod chown chroot chrt cksum clear cmp
comm cp cpio cut date devmem df dirname dmesg dos2unix du echo egrep env expand fallocate false fgrep file
find flock fmt free freeramdisk fsfreeze fsync getconf grep groups gunzip head help hostname hwclock iconv id
ifconfig inotifyd insmod ionice iorenice kill killall ln logname losetup ls lsattr lsmod lspci lsusb makedevs
md5sum microcom mkdir mkfifo mknod mkswap mktemp modinfo mount mountpoint mv nbd-client nc netcat netstat nice
nl nohup nsenter od partprobe paste patch pgrep pidof ping ping6 pivot_root pkill pmap printenv printf
prlimit ps pwd pwdx readelf readlink realpath renice rev rfkill rm rmdir rmmod rtcwake sed seq setfattr setsid
sha1sum sha224sum sha256sum sha384sum sha512sum sleep sort split stat strings swapoff swapon sync sysctl tac
tail tar tee test time timeout top touch true truncate tty tunctl uclampset ulimit umount uniq unix2dos unlink
unshare uptime usleep uudecode uuencode uuidgen vconfig vmstat watch wc which whoami xargs xxd yes zcat
"""
"""The toybox commands that Android 14 has (AOSP, system/core/shell_and_utilities/README.md).

Debian's toybox has more (wget, factor), which a phone lacks, and lacks some (dd, diff, expr, gzip, tr), which
it builds only from toybox's "pending" folder: dd is GNU's here, and a script keeps to what both have of the rest.
"""


def ensure(on_step: Callable[[str], None]) -> Path:
    """Return the tree, building it when the cache lacks it (some seconds, and 40 MB of downloads).

    Raises SmoothdroidError when it cannot be built. Safe to call from several processes, and to kill.
    """
    folder = cache_root().resolve() / "phone-tree"
    folder.mkdir(parents=True, exist_ok=True)
    tree = folder / _key()
    if tree.exists():
        return tree
    with exclusive(folder / "lock", wait=True):
        if tree.exists():  # another process built it meanwhile
            return tree
        for leftover in folder.glob("making-*"):  # of a process that was killed: this one holds the lock
            _remove(leftover)
        on_step(f"making the phone's root tree from Debian {SUITE} (once)")
        making = Path(tempfile.mkdtemp(prefix="making-", dir=folder))
        try:
            _extract(making / "debian", making / "log")
            _lay_out(making / "debian", making / "phone")
            (making / "phone").rename(tree)
        finally:
            _remove(making)
    return tree


def _key() -> str:
    made_of = hashlib.sha256(repr((SUITE, PACKAGES, LAYOUT, platform.machine())).encode())
    for script in sorted(_SCRIPTS.iterdir()):
        made_of.update(script.name.encode() + b"\0" + script.read_bytes())
    return f"{SUITE}-{made_of.hexdigest()[:16]}"


def _remove(folder: Path) -> None:
    # As root, because the packages' files are root's; and never across a mount. What is left is removed by the
    # next maker, so a failure here must not hide why this one gave up.
    subprocess.run(as_root(["rm", "-rf", "--one-file-system", "--", str(folder)]), check=False)


def _extract(debian: Path, log: Path) -> None:
    """Debian's packages with all they depend on, unpacked; their scripts are not run, apt checks signatures."""
    command = ["mmdebstrap", "--variant=extract", f"--keyring={KEYRING}", f"--include={','.join(PACKAGES)}"]
    # No mirror is named: mmdebstrap knows Debian's own, and takes security updates along.
    command += ["--components=main", SUITE, str(debian)]
    with log.open("wb") as output, start_as_root(command, output) as process:
        try:
            status = process.wait()
        except BaseException:  # Ctrl-C too
            subprocess.run(kill_as_root([-process.pid]), check=False)
            raise
    if status != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise SmoothdroidError(
            f"mmdebstrap could not fetch the phone's packages (status {status}); it needs Debian's mirrors:\n  "
            + "\n  ".join(lines[-8:])
        )


def _lay_out(debian: Path, phone: Path) -> None:
    """Copy the files that the phone needs out of Debian's tree: 20 MB of 100, without perl and systemd."""
    loader = _LOADERS[platform.machine()]
    libraries = list((debian / "usr/lib").glob("*-linux-gnu"))
    if len(libraries) != 1:
        raise SmoothdroidError(f"{debian}/usr/lib: one folder of libraries was expected, not {libraries}")
    search = [libraries[0], libraries[0] / "android"]
    run = [str(debian / loader), "--inhibit-cache", "--library-path", ":".join(str(path) for path in search)]

    wanted = set()
    for source in _PROGRAMS:
        listed = subprocess.run(
            [*run, "--list", str(debian / source)], capture_output=True, text=True, check=True
        ).stdout
        wanted |= {Path(path) for path in re.findall(r"=> (/\S+)", listed)}
    for library in wanted:
        _copy(library, phone / library.relative_to(debian))
    _copy(debian / loader, phone / loader)
    for part in (debian / _LOCALE).rglob("*"):
        if part.is_file():
            _copy(part, phone / part.relative_to(debian))
    for source, place in _PROGRAMS.items():
        _copy(debian / source, phone / place)

    applets = subprocess.run(
        [*run, str(debian / "usr/bin/toybox")], capture_output=True, text=True, check=True
    ).stdout.split()
    for applet in set(_ANDROID_TOOLS.split()).intersection(applets):
        (phone / "system/bin" / applet).symlink_to("toybox")
    for script in _SCRIPTS.iterdir():
        _copy(script, phone / "system/bin" / script.name)
    for folder in (phone, *phone.rglob("*")):
        if folder.is_dir() and not folder.is_symlink():
            folder.chmod(0o755)  # whatever this process's umask is


def _copy(source: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, place)
    # The mode does not depend on the source's: no setuid, and readable by the phone's users.
    place.chmod(0o755)
