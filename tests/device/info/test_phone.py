"""What real phones say of themselves. Where the answers come from: tests/data/phones/SOURCES.md."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import pytest

from smoothdroid.device import virtual
from smoothdroid.device.common.errors import CommandFailed
from smoothdroid.device.info.battery import Battery, parse_battery
from smoothdroid.device.info.cpu import megahertz, parse_clusters, parse_features
from smoothdroid.device.info.phone import Phone, describe, parse, parse_properties
from smoothdroid.device.info.readings import Cleaned
from smoothdroid.device.info.thermal import parse_temperatures
from smoothdroid.device.transport.adb import AdbTarget
from smoothdroid.device.transport.local import LocalTarget
from smoothdroid.device.transport.ssh import SshTarget
from smoothdroid.device.virtual.render import serial_number

DATA = Path(__file__).parents[2] / "data/phones"


def answer(name: str) -> str:
    return (DATA / f"{name}.txt").read_bytes().decode()


def phone_of(name: str) -> Phone:
    return parse(answer(name), f"adb:{name}")


def clusters(phone: Phone) -> list[tuple[str, str, int | None]]:
    return [(_span(cluster.cpus), cluster.name, cluster.max_mhz) for cluster in phone.clusters]


def _span(cpus: list[int]) -> str:
    return f"{cpus[0]}-{cpus[-1]}" if cpus == list(range(cpus[0], cpus[-1] + 1)) else ",".join(map(str, cpus))


# --- whole phones -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("pixel-8", [("8-8", "Cortex-X3", 2914), ("4-7", "Cortex-A715", 2367), ("0-3", "Cortex-A510", 1704)]),
        # The fast cluster comes first on this SoC: cores are told apart by speed, not by number.
        ("sdm630", [("0-3", "Kryo 2xx Silver", 2208), ("4-7", "Kryo 2xx Silver", 1843)]),
        # Two kinds at one speed (Helio P60).
        ("oppo-r15", [("4-7", "Cortex-A73", 1989), ("0-3", "Cortex-A53", 1989)]),
        # CPUs 6 and 7 are offline: neither /proc/cpuinfo nor sysfs says what they are.
        ("galaxy-s7-global", [("4-5", "Exynos M1/M2", 2600), ("0-3", "Cortex-A53", 1586), ("6-7", "unknown", None)]),
        # CPUs 5-7 and 9 are offline, but sysfs has their speeds: they are what their neighbours are.
        ("meizu-pro-7-plus", [("8-9", "Cortex-A73", 2600), ("4-7", "Cortex-A53", 2197), ("0-3", "Cortex-A35", 1898)]),
        # /proc/cpuinfo has 3 of 10: the big cores must not get the little ones' name.
        ("meizu-pro-6", [("0,4", "Cortex-A53", 2002), ("5-6", "Cortex-A53", None), ("1,2,3,7,8,9", "unknown", None)]),
        # An old kernel: one block for all, with the part of whichever core answered.
        ("galaxy-s6", [("4-7", "unknown", 2100), ("0-3", "unknown", 1500)]),
        # The same, but all cores are alike.
        ("oppo-a37", [("0-3", "Cortex-A53", 1209)]),
    ],
)
def test_the_clusters_of_real_phones(name: str, found: list[tuple[str, str, int | None]]) -> None:
    phone = phone_of(name)
    assert sorted(clusters(phone)) == sorted(found)
    assert clusters(phone)[0] == found[0], "the fastest comes first"
    assert phone.cpu_count == sum(len(cluster.cpus) for cluster in phone.clusters)


@pytest.mark.parametrize(
    ("name", "model", "soc", "android"),
    [
        ("pixel-8", "Google Pixel 8", "zuma", "14"),
        ("galaxy-s7-global", "samsung SM-G930F", "exynos5", "7.0"),
        ("galaxy-s6", "samsung SAMSUNG-SM-G920A", "exynos5", "6.0.1"),
        ("oppo-a37", "OPPO A37fw", "msm8916", "5.1.1"),  # its adb ends lines with CR LF
        ("oppo-r15", "OPPO PACM00", "mt6771", "8.1.0"),
        ("sdm630", "Linux aarch64", "aarch64", ""),  # no Android at all
    ],
)
def test_the_names_of_real_phones(name: str, model: str, soc: str, android: str) -> None:
    phone = phone_of(name)
    assert (phone.model, phone.soc, phone.android, phone.abi) == (model, soc, android, "arm64-v8a")
    assert not phone.emulated


def test_the_rest_of_a_phone() -> None:
    phone = phone_of("pixel-8")
    assert phone.kernel == "5.15.110-android14-11-ga6d7915820a0-ab10726252"
    assert (phone.memory_mb, phone.available_mb, phone.free_mb) == (3710, 1855, 9765)
    assert phone.battery == Battery(level_percent=77, celsius=29.6, charging=True)
    assert {"asimddp", "i8mm", "sve2"} <= set(phone.features)
    assert phone.features == sorted(phone.features)


def test_a_kernel_that_tells_no_available_memory() -> None:
    """Before 3.14: at least what is free is available."""
    assert phone_of("galaxy-s6").available_mb == 195


@pytest.mark.fault(
    "A phone's description lacks what every Linux has",
    transport="any",
    outcome="an error names what is lacking",
)
def test_what_an_answer_must_have() -> None:
    whole = answer("pixel-8")
    for section in ("uname", "cpuinfo", "meminfo", "df"):
        with pytest.raises(CommandFailed, match="lacks"):
            parse(whole.replace(f"=={section}\n", "==other\n"), "adb:X")
    with pytest.raises(CommandFailed, match="lacks"):
        parse("", "adb:X")


def test_what_an_answer_can_do_without() -> None:
    whole = answer("pixel-8")
    for section in ("getprop", "cpus", "thermal", "battery"):
        whole = whole.replace(f"=={section}\n", "==other\n")
    phone = parse(whole, "ssh://u@h:1")
    assert (phone.model, phone.abi, phone.android, phone.celsius) == ("Linux aarch64", "arm64-v8a", "", {})
    assert phone.battery == Battery()
    assert clusters(phone) == [("8-8", "Cortex-X3", None), ("4-7", "Cortex-A715", None), ("0-3", "Cortex-A510", None)]


def test_android_has_a_loader_and_other_linux_has_not() -> None:
    assert not parse(answer("pixel-8"), "adb:X").bionic
    assert parse(f"{answer('pixel-8')}\n==bionic\n/system/bin/linker64\n", "adb:X").bionic


def test_the_id_is_the_serial_numbers() -> None:
    def with_serial(line: str, target: str) -> str:
        return parse(answer("pixel-8").replace("==getprop\n", f"==getprop\n{line}\n"), target).id

    one = with_serial("[ro.serialno]: [R58M]", "adb:R58M")
    assert one == with_serial("[ro.serialno]: [R58M]", "ssh://user@phone:8022")
    assert one == with_serial("[ro.boot.serialno]: [R58M]", "adb:R58M")
    assert one != with_serial("[ro.serialno]: [R58N]", "adb:R58M")
    # Without one, the way is all there is to tell two phones apart.
    assert with_serial("[a]: [b]", "ssh://a@h:1") != with_serial("[a]: [b]", "ssh://b@h:1")


# --- /proc/cpuinfo and sysfs --------------------------------------------------------------------------------


def cpuinfo(*parts: tuple[str, str]) -> str:
    """As an arm64 kernel prints it."""
    return "".join(
        f"processor\t: {number}\nFeatures\t: fp asimd\nCPU implementer\t: {implementer}\nCPU part\t: {part}\n\n"
        for number, (implementer, part) in enumerate(parts)
    )


def test_one_part_id_of_two_makers() -> None:
    """0x001 is Oryon to Qualcomm and Exynos M1 to Samsung."""
    speeds = "".join(f"{cpu} {3532800 if cpu < 6 else 4320000} 1\n" for cpu in range(8))
    assert [str(cluster) for cluster in parse_clusters(cpuinfo(*[("0x51", "0x001")] * 8), speeds)] == [
        "2×Oryon 4.32 GHz",
        "6×Oryon 3.53 GHz",
    ]
    assert parse_clusters(cpuinfo(("0x53", "0x001")), "")[0].name == "Exynos M1/M2"


def test_a_part_that_no_table_names_keeps_its_number() -> None:
    assert [str(cluster) for cluster in parse_clusters(cpuinfo(("0x41", "0xfff")), "")] == ["1×0x41:0xfff"]


@pytest.mark.fault(
    "A phone lets nobody read its CPUs' frequencies in sysfs",
    transport="any",
    outcome="its CPUs are those of /proc/cpuinfo, without speeds",
)
@pytest.mark.parametrize("cpus", ["", "[0-9]* - -", "sh: can't open /sys/devices/system/cpu: Permission denied"])
def test_without_sysfs_the_cpus_of_cpuinfo_remain(cpus: str) -> None:
    (only,) = parse_clusters(cpuinfo(("0x41", "0xd03"), ("0x41", "0xd03")), cpus)
    assert (only.cpus, only.name, only.max_mhz) == ([0, 1], "Cortex-A53", None)


def test_one_block_for_all_without_sysfs() -> None:
    """A Snapdragon 650: 4 Cortex-A53 and 2 Cortex-A72, of which /proc/cpuinfo names one kind."""
    text = "Processor\t: AArch64 Processor rev 4 (aarch64)\n"
    text += "".join(f"processor\t: {number}\n" for number in range(6))
    text += "Features\t: fp asimd\nCPU implementer\t: 0x41\nCPU part\t: 0xd03\n\nHardware\t: MSM8956\n"
    assert [(cluster.name, cluster.cpus) for cluster in parse_clusters(text, "")] == [("unknown", list(range(6)))]


def test_an_armv7_kernel_names_the_part_after_all_cpus() -> None:
    text = "Processor\t: ARMv7 Processor rev 2 (v7l)\n"
    text += "".join(f"processor\t: {number}\nBogoMIPS\t: 13.53\n\n" for number in range(4))
    text += "Features\t: swp half thumb neon\nCPU implementer\t: 0x41\nCPU part\t: 0xc07\n\nHardware\t: X\n"
    speeds = "".join(f"{cpu} 1190400 1\n" for cpu in range(4))
    assert [str(cluster) for cluster in parse_clusters(text, speeds)] == ["4×Cortex-A7 1.19 GHz"]


def test_odd_frequencies_are_left_out() -> None:
    assert megahertz([2_914_000, 0, 65535, 4_294_967_295]) == Cleaned([2914, None, None, None], 3)


def test_a_feature_counts_when_every_cpu_has_it() -> None:
    text = "processor\t: 0\nFeatures\t: fp asimd i8mm\n\nprocessor\t: 1\nFeatures\t: asimd fp\n"
    assert parse_features(text) == {"fp", "asimd"}
    assert parse_features("processor\t: 0\n") == set()


def test_a_32_bit_reader_sees_32_bit_features() -> None:
    assert {"half", "thumb", "neon"} <= set(phone_of("oppo-r15").features)
    assert "asimd" not in phone_of("oppo-r15").features


@pytest.mark.fault(
    "A phone's description holds absurd CPU numbers, endless numbers or lines, NULs, or other scripts' digits",
    transport="any",
    outcome="the value counts as not known, or an error says what the answer lacks",
)
@pytest.mark.parametrize("odd", ["9" * 400, "99999999999", "²", "٣", "-99999999999", "5-2", "x\0", "x" * 100_000])
def test_absurd_values_are_not_known_or_refused(odd: str) -> None:
    whole = answer("pixel-8")
    phone = parse(whole.replace("==cpus\n", f"==cpus\n{odd} 1000000 1\n7 {odd} 1\n"), "adb:X")
    assert phone.cpu_count == 9
    assert phone.clusters[0].max_mhz == 2914
    assert parse(whole.replace("==cpuinfo\n", f"==cpuinfo\nprocessor\t: {odd}\n\n"), "adb:X").cpu_count == 9
    assert set(parse(whole.replace("==thermal\n", f"==thermal\n{odd} odd\n"), "adb:X").celsius) == set(phone.celsius)
    assert parse_battery(f"  level: {odd}\n  temperature: {odd}\nsysfs capacity {odd}\n") == Battery()
    for line in ("MemTotal:", "MemAvailable:"):
        changed = re.sub(rf"^{line} +\d+ kB", f"{line} {odd} kB", whole, flags=re.M)
        with suppress(CommandFailed):
            assert 0 <= parse(changed.replace("\nMemFree", "\nOther"), "adb:X").memory_mb < 1 << 40


@pytest.mark.parametrize(
    "text",
    [
        "processor\t: 0\n" + " " * 8000 + "\n",
        ("a" + " " * 8000 + "\n") * 100,
        "\n" * 1_000_000,
        "[" + "]: [" * 250_000 + "\n",
        ("processor\t: 0\n\n") * 50_000,
        "26000 cpu\n" * 20_000,
    ],
    ids=["spaces", "words", "lines", "brackets", "cpus", "zones"],
)
def test_long_answers_take_no_longer_than_they_are(text: str) -> None:
    """Each took minutes: a pattern that begins anew at every place, a count of all names for each zone."""
    for section in ("getprop", "cpuinfo", "cpus", "meminfo", "thermal", "battery"):
        assert parse(answer("pixel-8").replace(f"=={section}\n", f"=={section}\n{text}"), "adb:X").cpu_count == 9
    assert len(parse_temperatures("26000 cpu\n" * 20_000)) == 20_000


def test_an_endless_answer_is_refused() -> None:
    with pytest.raises(CommandFailed, match="has 9 MiB"):
        parse(answer("pixel-8") + "x\n" * (9 << 19), "adb:X")


def test_properties_with_brackets_and_lines() -> None:
    said = "[a]: [1]\n[persist.x]: [[b]: [c]]\n[lines]: [one\ntwo]\n[empty]: []\nno property\n[d]: [4]"
    assert parse_properties(said) == {"a": "1", "persist.x": "[b]: [c]", "empty": "", "d": "4"}


def test_an_armv8l_phone_is_one_of_32_bits() -> None:
    """A 64-bit CPU under a 32-bit kernel (ggml-org/llama.cpp #11428)."""
    text = answer("pixel-8").replace(" aarch64", " armv8l")
    assert parse(re.sub(r"^\[ro.product.cpu.abi\].*\n", "", text, flags=re.M), "adb:X").abi == "armv8l"


def test_the_zones_of_a_pixel() -> None:
    celsius = phone_of("pixel-8").celsius
    assert {"BIG": 26.0, "battery": 22.1, "VIRTUAL-SKIN": 24.833}.items() <= celsius.items()
    assert not {"vdroop1", "ocp_cpu2", "batoilo", "smpl_gm", "soc", "USB2-MINUS-USB"} & set(celsius)
    assert 18 < min(celsius.values()) < max(celsius.values()) < 30


# --- described over every transport -------------------------------------------------------------------------------


def test_this_machine_describes_itself() -> None:
    here = describe(LocalTarget())
    assert here.cpu_count == Path("/proc/cpuinfo").read_text().count("processor\t:")
    assert here.memory_mb > here.available_mb > 0
    assert here.free_mb > 0
    assert not here.emulated


@pytest.mark.e2e
def test_a_phone_with_a_placeholder_for_a_serial_number_keeps_its_mark(
    phone: virtual.VirtualPhone, adb_target: AdbTarget, tmp_path: Path
) -> None:
    properties = phone.folder / "etc/properties"
    before = properties.read_text()
    try:
        properties.write_text(re.sub(r"serialno=.*", "serialno=0123456789ABCDEF", before))
        first, second = describe(adb_target), describe(adb_target)
        adb_target.run(["rm", f"{adb_target.root}/mark"])
        other = describe(adb_target)  # as another phone with that serial number, which has no mark yet
    finally:
        properties.write_text(before)
    assert first.id == second.id != other.id
    assert first.mark == second.mark != other.mark
    assert describe(adb_target).id not in (first.id, other.id)


@pytest.mark.e2e
def test_the_emulated_phone_is_one_phone_over_both_ways(
    phone: virtual.VirtualPhone, adb_target: AdbTarget, ssh_target: SshTarget
) -> None:
    over_adb, over_ssh = describe(adb_target), describe(ssh_target)
    for found in (over_adb, over_ssh):
        assert found.model == "Google Pixel 8"
        assert found.emulated
        assert not found.bionic
        assert clusters(found) == clusters(phone_of("pixel-8"))
        assert found.cpu_count == 9
        assert found.features == phone_of("pixel-8").features
        assert found.celsius["VIRTUAL-SKIN"] == 24.833
        assert found.battery == Battery(level_percent=77, celsius=22.1, charging=False)
        assert (found.memory_mb, found.android, found.abi) == (7864, "14", "arm64-v8a")
        assert found.free_mb > 0
    assert over_adb.id == over_ssh.id
    assert serial_number(phone.name) not in over_adb.id
