"""The files of an emulated phone below /proc, /sys and /etc, rendered from its profile."""

from __future__ import annotations

import hashlib

from smoothdroid.device.virtual.profile import EMULATED, ClusterFacts, Profile

SHELL_UID = 2000
"""The id of Android's user `shell`, which an adb shell runs as."""

TERMUX_UID = 10217
TERMUX_USER = "u0_a217"
"""The user that Android gave to the 217th app of its first user: Termux, here."""

TERMUX_APP = "com.termux"
TERMUX_PREFIX = f"/data/data/{TERMUX_APP}/files/usr"
TERMUX_TMP = f"{TERMUX_PREFIX}/tmp"  # noqa: S108 - a folder of the phone
TERMUX_HOME = f"/data/data/{TERMUX_APP}/files/home"

INNER_SSH_PORT = 8022
"""The port of sshd inside the phone's own network, as in Termux."""

_GROUPS = {"shell": SHELL_UID, "log": 1007, "adb": 1011, "sdcard_rw": 1015, "inet": 3003, "readproc": 3009}
_CPU = "sys/devices/system/cpu"
_BATTERY = "sys/class/power_supply/battery"


def serial_number(phone: str) -> str:
    """Return the serial number of the phone by this name; phones that run side by side differ in it."""
    return "EMU" + hashlib.sha256(phone.encode()).hexdigest()[:11].upper()


def cpuinfo(profile: Profile) -> str:
    """Render /proc/cpuinfo as an arm64 kernel prints it (arch/arm64/kernel/cpuinfo.c, c_show)."""
    return "".join(
        f"processor\t: {number}\n"
        f"BogoMIPS\t: {profile.cpuinfo.bogomips}\n"
        f"Features\t: {profile.cpuinfo.features}\n"
        f"CPU implementer\t: {cluster.implementer:#04x}\n"
        "CPU architecture: 8\n"
        f"CPU variant\t: {cluster.variant:#x}\n"
        f"CPU part\t: {cluster.part:#05x}\n"
        f"CPU revision\t: {cluster.revision}\n\n"
        for cluster in profile.cluster
        for number in cluster.numbers
    )


def environment(profile: Profile) -> dict[str, str]:
    """Return the environment of every process of the phone."""
    return {
        "PATH": "/system/bin",
        "ANDROID_ROOT": "/system",
        "ANDROID_DATA": "/data",
        "LANG": "C.UTF-8",
        "QEMU_CPU": profile.qemu_cpu,
    }


def files(profile: Profile, phone: str, ssh_key: str) -> dict[str, str]:
    """Render the phone's own files, by their path below /: proc/, sys/ and etc/.

    `ssh_key` is the public key that may log in, in OpenSSH's form.
    """
    return {
        "proc/cpuinfo": cpuinfo(profile),
        "proc/meminfo": _meminfo(profile),
        **_cpus(profile),
        **_thermal_zones(profile),
        **_battery(profile),
        **_accounts(),
        "etc/properties": _properties(profile, phone),
        "etc/ssh/sshd_config": _sshd_config(profile),
        "etc/ssh/authorized_keys": ssh_key,
    }


def _meminfo(profile: Profile) -> str:
    memory = profile.memory
    values = {"MemTotal": memory.total_kb, "MemFree": memory.available_kb // 4}
    values |= {"MemAvailable": memory.available_kb, "Buffers": 0, "Cached": memory.available_kb * 3 // 4}
    values |= {"SwapCached": 0, "SwapTotal": 0, "SwapFree": 0}
    return "".join(f"{name + ':':<16}{value:>8} kB\n" for name, value in values.items())


def _cpus(profile: Profile) -> dict[str, str]:
    count = sum(len(cluster.numbers) for cluster in profile.cluster)
    every = f"0-{count - 1}\n" if count > 1 else "0\n"
    texts = {f"{_CPU}/{which}": every for which in ("possible", "present", "online")}
    texts[f"{_CPU}/offline"] = "\n"
    for cluster in profile.cluster:
        for number in cluster.numbers:
            for name, value in _cpufreq(cluster).items():
                texts[f"{_CPU}/cpu{number}/cpufreq/{name}"] = f"{value}\n"
    return texts


def _cpufreq(cluster: ClusterFacts) -> dict[str, str | int]:
    lowest, highest = min(cluster.frequencies_khz), max(cluster.frequencies_khz)
    cpus = " ".join(str(number) for number in cluster.numbers)
    return {
        "affected_cpus": cpus,
        "related_cpus": cpus,
        "cpuinfo_min_freq": lowest,
        "cpuinfo_max_freq": highest,
        "scaling_min_freq": lowest,
        "scaling_max_freq": highest,
        # The clock of a busy phone: the file is constant, and only a busy phone is measured.
        "scaling_cur_freq": highest,
        "scaling_available_frequencies": " ".join(str(khz) for khz in cluster.frequencies_khz),
        "scaling_governor": cluster.governor,
    }


def _thermal_zones(profile: Profile) -> dict[str, str]:
    texts = {"etc/thermal_types": "".join(f"{z.type} {z.hal_type}\n" for z in profile.thermal_zone)}
    for index, zone in enumerate(profile.thermal_zone):
        texts[f"sys/class/thermal/thermal_zone{index}/type"] = f"{zone.type}\n"
        texts[f"sys/class/thermal/thermal_zone{index}/temp"] = f"{zone.millicelsius}\n"
    return texts


def _battery(profile: Profile) -> dict[str, str]:
    battery = profile.battery
    values = {
        "type": "Battery",
        "present": 1,
        "status": battery.status,
        "health": "Good",
        "technology": battery.technology,
        "capacity": battery.level_percent,
        "temp": battery.temperature_decicelsius,
        "voltage_now": battery.voltage_uv,
        "current_now": battery.current_ua,
        "charge_counter": battery.charge_counter_uah,
    }
    return {f"{_BATTERY}/{name}": f"{value}\n" for name, value in values.items()}


def _accounts() -> dict[str, str]:
    users = {
        "root": (0, "/"),
        "shell": (SHELL_UID, "/"),
        TERMUX_USER: (TERMUX_UID, TERMUX_HOME),
    }
    return {
        "etc/passwd": "".join(f"{n}:x:{u}:{u}::{home}:/system/bin/sh\n" for n, (u, home) in users.items()),
        # There is no group `tty`: with one, sshd would assign terminals to it, which only root can do.
        "etc/group": "".join(f"{n}:x:{g}:\n" for n, g in {"root": 0, TERMUX_USER: TERMUX_UID, **_GROUPS}.items()),
    }


def _properties(profile: Profile, phone: str) -> str:
    serial = serial_number(phone)
    values = {**profile.properties, "ro.serialno": serial, "ro.boot.serialno": serial, EMULATED: "1"}
    return "".join(f"{name}={value}\n" for name, value in sorted(values.items()))


def _sshd_config(profile: Profile) -> str:
    environ = {**environment(profile), "PREFIX": TERMUX_PREFIX, "TMPDIR": TERMUX_TMP}
    return "\n".join(
        [
            f"ListenAddress 127.0.0.1:{INNER_SSH_PORT}",
            "HostKey /etc/ssh/host_key",
            "PidFile none",
            "UsePAM no",
            "UseDNS no",
            "AuthenticationMethods publickey",
            "AuthorizedKeysFile /etc/ssh/authorized_keys",
            # That file belongs to the user who started the phone; no user of the phone can write it.
            "StrictModes no",
            "PrintMotd no",
            "PrintLastLog no",
            # Otherwise sshd refuses, for a while, a workstation whose tests failed to log in a few times.
            "PerSourcePenalties no",
            "Subsystem sftp internal-sftp",
            "SetEnv " + " ".join(f'"{name}={value}"' for name, value in environ.items()),
            "",
        ]
    )
