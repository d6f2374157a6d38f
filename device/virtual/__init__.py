"""The emulated phone: Debian's adbd and OpenSSH's sshd in an Android-like root, showing one real phone's facts.

It has neither a phone's kernel nor its SELinux nor its speed: arm64 binaries run under qemu-user, on the
workstation's CPUs.
Only users of this machine's loopback can reach the phone's adbd, which asks for no key.
"""

from smoothdroid.device.virtual.host import missing_requirements
from smoothdroid.device.virtual.phone import get, reboot, running, start, stop
from smoothdroid.device.virtual.profile import profiles
from smoothdroid.device.virtual.state import VirtualPhone

__all__ = ["VirtualPhone", "get", "missing_requirements", "profiles", "reboot", "running", "start", "stop"]
