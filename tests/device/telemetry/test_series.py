from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoothdroid.device.info.cpu_list import parse_cpus
from smoothdroid.device.telemetry.conditions import Conditions, Range
from smoothdroid.device.telemetry.series import parse


def text(columns: dict[str, list[str]], more: str = "") -> str:
    """A runner's file: columns by `KIND NAME...`, each with its values."""
    count = max((len(values) for values in columns.values()), default=0)
    lines = ["column\ttime", *("column\t" + "\t".join(name.split("|")) for name in columns)]
    for number in range(count):
        lines.append("\t".join(["sample", str(1000 + 100 * number), *(values[number] for values in columns.values())]))
    return "\n".join(lines) + "\n" + more


def test_the_units_of_each_kind() -> None:
    found = parse(
        text(
            {
                "zone|thermal_zone0|BIG": ["26000", "41500"],
                "zone|thermal_zone1|xo-therm": ["31", "32"],
                "frequency|0 1 2 3": ["324000", "-"],
                "cap|0 1 2 3": ["1704000", "1200000"],
                "governor|0 1 2 3": ["schedutil", "schedutil"],
                "online|online": ["0-3", "0-2"],
                "battery|capacity": ["77", "76"],
                "battery|temp": ["221", "-15"],
                "battery|voltage_now": ["4127000", "4100000"],
                "available": ["2048", "1024"],
            }
        )
    )
    assert found.time_s == [0.0, 1.0]
    assert found.celsius == {"BIG": [26.0, 41.5], "xo-therm": [31.0, 32.0]}
    assert (found.mhz, found.cap_mhz) == ({"0 1 2 3": [324.0, None]}, {"0 1 2 3": [1704.0, 1200.0]})
    assert (found.governor, found.online) == ({"0 1 2 3": ["schedutil", "schedutil"]}, ["0-3", "0-2"])
    assert (found.battery.level_percent, found.battery.celsius) == ([77.0, 76.0], [22.1, -1.5])
    assert (found.battery.volt, found.available_mb) == ([4.127, 4.1], [2.0, 1.0])
    short = Conditions.of(found)
    assert short.celsius["BIG"] == Range(first=26.0, last=41.5, lowest=26.0, highest=41.5, mean=33.75)
    assert short.mhz["0 1 2 3"].lowest == 324.0
    assert (short.online, short.governor) == (["0-3", "0-2"], {"0 1 2 3": ["schedutil"]})


@pytest.mark.parametrize(
    ("status", "raw", "milliampere"),
    [
        ("Discharging", ["-210000", "-900000"], [-210, -900]),  # the kernel's ABI: uA
        ("Discharging", ["1202147", "900000"], [-1202.147, -900]),  # the other sign
        ("Discharging", ["398", "1200"], [-398, -1200]),  # mA
        ("Discharging", ["976", "250000"], [-0.976, -250]),  # a Pixel: idle first, and uA all the same
        ("Discharging", ["-2147483648", "-2147483648"], [None, None]),  # says nothing
        ("Charging", ["-1202147", "-426300"], [-1202.147, -426.3]),  # whose sign this is, only the vendor knows
        ("Charging", ["-125", "141"], [-125, 141]),
        ("-", ["-210000", "-"], [-210, None]),
    ],
)
def test_current_in_the_vendors_units_and_signs(status: str, raw: list[str], milliampere: list[float | None]) -> None:
    found = parse(text({"battery|status": [status, status], "battery|current_now": raw}))
    assert found.battery.current_ma == milliampere


@pytest.mark.fault(
    "A thermal zone holds millivolts, milliamperes, percents or a difference",
    transport="any",
    outcome="it is no temperature and is left out",
)
def test_zones_that_are_no_temperatures_are_left_out() -> None:
    odd = {"vdroop1": "1050000", "socd": "77", "ocp_cpu2": "11900", "USB2-MINUS-QI": "-3000", "absent": "0", "odd": "x"}
    columns = {f"zone|thermal_zone{number}|{name}": [value] for number, (name, value) in enumerate(odd.items())}
    columns |= {
        "zone|thermal_zone7|cpu": ["41000"],
        "zone|thermal_zone8|cpu": ["42000"],
        "zone|thermal_zone9": ["43000"],
    }
    assert parse(text(columns)).celsius == {"cpu": [41.0], "cpu (thermal_zone8)": [42.0]}


def test_threads_masks_and_peaks() -> None:
    more = """\
/proc/12/task/12/status:VmHWM:\t  204800 kB
/proc/12/task/12/status:VmSwap:\t       0 kB
/proc/12/task/12/status:Cpus_allowed_list:\t4-7
/proc/12/task/13/status:Cpus_allowed_list:\t4-7
/proc/12/smaps_rollup:Pss:              102400 kB
"""
    found = parse(text({"online|online": ["0-8"]}, more))
    assert (found.rss_peak_mb, found.pss_peak_mb, found.swap_peak_mb) == (200.0, 100.0, 0.0)
    assert found.allowed_cpus == [[4, 5, 6, 7]]
    assert found.held([7, 6, 5, 4]) is True
    assert found.held([4, 5]) is False
    more += "/proc/12/task/13/status:Cpus_allowed_list:\t4-5,8\n"
    assert parse(text({}, more)).held([4, 5, 6, 7]) is False
    assert parse(text({})).held([4, 5, 6, 7]) is None


def test_what_services_tell_where_sysfs_is_closed() -> None:
    """Xiaomi 13T Pro, throttled; a OnePlus that charges, whose mA are negative then."""
    more = """\
service\tthermalservice
\tTemperature{mValue=87.556, mType=0, mName=CPU, mStatus=3}
Current temperatures from HAL:
\tTemperature{mValue=62.842, mType=0, mName=CPU, mStatus=0}
\tTemperature{mValue=50.77, mType=3, mName=SKIN, mStatus=3}
\tTemperature{mValue=1050.0, mType=6, mName=vdroop1, mStatus=0}
\tTemperature{mValue=77.0, mType=8, mName=socd2, mStatus=0}
\tTemperature{mValue=0.0, mType=1, mName=GPU, mStatus=0}
Current cooling devices from HAL:
service\tbattery
  Battery current : -1589
  status: 2
  level: 87
  voltage: 4300
  temperature: 330
sample\t1100\t0-7
sample\t1200\t0-7
service\tthermalservice
Current temperatures from HAL:
\tTemperature{mValue=61, mType=0, mName=CPU, mStatus=0}
"""
    found = parse(text({"online|online": ["0-8"]}, more))
    assert found.celsius == {"CPU": [62.842, None, 61.0], "SKIN": [50.77, None, None]}
    battery = found.battery
    assert (battery.level_percent, battery.celsius, battery.volt) == (
        *([87.0, None, None], [33.0, None, None]),
        [4.3, None, None],
    )
    assert (battery.status, battery.current_ma) == (["Charging", None, None], [-1589, None, None])


def test_the_same_moment_by_moment() -> None:
    more = """\
/proc/12/task/12/status:VmSwap:\t   20480 kB
/proc/12/task/12/status:Cpus_allowed_list:\t4-5
/proc/12/task/13/status:Cpus_allowed_list:\t4
top\t4 5\t2367000
trip\tBIG\t95000
trip\tBIG\t85000
"""
    columns = {"zone|thermal_zone0|BIG": ["41500"], "frequency|4 5": ["1800000"], "cap|4 5": ["2000000"]}
    columns |= {"online|online": ["0-5"], "battery|status": ["Discharging"], "battery|current_now": ["-900000"]}
    columns |= {"battery|voltage_now": ["4100000"], "available": ["2048000"], "faults": ["7"]}
    found = parse(text(columns, more)).observation
    assert (found.max_mhz, found.trip_celsius) == ({4: 2367, 5: 2367}, {"BIG": 85.0})
    (moment,) = found.samples
    assert (moment.at_s, moment.celsius, moment.mhz, moment.cap_mhz) == (
        *(0.0, {"BIG": 41.5}, {4: 1800, 5: 1800}),
        {4: 2000, 5: 2000},
    )
    assert (moment.online, moment.thread_cpus) == ([0, 1, 2, 3, 4, 5], {12: [4, 5], 13: [4]})
    assert (moment.available_mb, moment.swapped_mb, moment.major_faults) == (2000, 20, 7)
    assert moment.battery
    assert (moment.battery.charging, moment.battery_ma, moment.battery_mv) == (False, 900, 4100)


def test_what_is_missing_is_told() -> None:
    found = parse("column\ttime\nmissing\tzone\nmissing\tbattery\n")
    assert (found.missing, found.celsius, found.time_s) == (["zone", "battery"], {}, [])
    assert Conditions.of(found).samples == 0


@pytest.mark.fault(
    "A line of the phone's samples is cut by a kill, or torn by a driver's odd value",
    transport="any",
    outcome="the line is left out, the others are read",
)
def test_torn_lines_are_left_out() -> None:
    whole = text({"online|online": ["0-8", "0-7"]})
    assert parse(whole + "sample\t1200\t0-").online == ["0-8", "0-7"]
    assert parse(whole + "sample\t1200\n").online == ["0-8", "0-7"]
    assert parse(whole + "sample\t1200\t0\t1\n").online == ["0-8", "0-7"]


@pytest.mark.fault(
    "The phone's samples of a cell lost their header",
    transport="any",
    outcome="an error names the cell's samples as damaged",
)
@pytest.mark.parametrize("wrong", ["", "sample\t1\n", "column\tonline\n"])
def test_without_a_header_it_is_an_error(wrong: str) -> None:
    with pytest.raises(ValueError, match="no header"):
        parse(wrong)


@given(st.text())
def test_any_text_is_read_or_refused(junk: str) -> None:
    for odd in (junk, "column\ttime\n" + junk, text({"zone|z|BIG": ["1"], "battery|temp": ["1"]}) + junk):
        with suppress(ValueError):
            assert Conditions.of(parse(odd)).samples >= 0


def test_lists_of_cpus() -> None:
    assert parse_cpus("0-3,8") == [0, 1, 2, 3, 8]
    for wrong in ("", "a", "1-", "0-3,", "5-2", "-1", "²", "٣", "99999999-999999999", ",".join(["0-9999"] * 2)):
        with pytest.raises(ValueError, match="not a list of CPUs"):
            parse_cpus(wrong)


# --- readings that no sensor can mean -------------------------------------------------------------------------------


def test_a_zone_with_one_glitch_is_kept_and_the_reading_counted() -> None:
    """A zone above its trip point of 95 with one reading of -127000 (raspberrypi/firmware #133)."""
    columns = {
        "zone|thermal_zone3|cpu-0": ["97000", "-127000", "98000", "97500"],
        "zone|thermal_zone4|skin": ["41000", "41000", "41100", "41100"],
    }
    found = parse(text(columns, "trip\tcpu-0\t95000\n"))
    assert found.celsius["cpu-0"] == [97.0, None, 98.0, 97.5]
    assert found.observation.dropped == {"thermal_zone3 (cpu-0)": 1}
    assert [moment.celsius.get("cpu-0") for moment in found.observation.samples] == [97.0, None, 98.0, 97.5]


def test_odd_readings_of_battery_and_cpus_are_counted_by_name() -> None:
    columns = {
        "battery|status": ["Discharging"] * 3,
        "battery|current_now": ["-398", "65535", "-1200"],
        "battery|voltage_now": ["4127000", "4100000", "0"],
        "battery|capacity": ["77", "300", "76"],
        "battery|temp": ["291", "290", "-1270"],
        "frequency|4 5": ["2367000", "4294967295", "2367000"],
        "cap|4 5": ["2367000", "0", "2367000"],
    }
    found = parse(text(columns, "top\t4 5\t2367000\ntop\t8\t999999999999\n"))
    assert found.battery.current_ma == [-398, None, -1200]
    assert found.observation.max_mhz == {4: 2367, 5: 2367}
    assert [moment.cap_mhz for moment in found.observation.samples] == [{4: 2367, 5: 2367}, {}, {4: 2367, 5: 2367}]
    assert found.observation.dropped == {
        "battery current": 1,
        "battery voltage": 1,
        "battery level": 1,
        "battery temperature": 1,
        "frequency of CPU 4 5": 1,
        "highest frequency of CPU 4 5": 1,
    }


def test_a_stuck_sensor_is_named_and_left_out() -> None:
    columns = {
        "zone|thermal_zone0|mtktscpu": ["61000", "74000", "80500"],
        "zone|thermal_zone5|mtkts_bts1": ["125000"] * 3,
    }
    found = parse(text(columns, "trip\tmtkts_bts1\t85000\n"))
    assert set(found.celsius) == {"mtktscpu"}
    assert found.observation.stuck == {"thermal_zone5 (mtkts_bts1)": 125.0}
    hot = columns | {"zone|thermal_zone5|mtkts_bts1": ["118000", "119000", "118500"]}
    assert parse(text(hot)).observation.stuck == {}


@pytest.mark.fault(
    "Android's thermal service caches temperatures and states that are minutes old",
    transport="any",
    outcome="only the HAL's current temperatures and states count",
)
@pytest.mark.parametrize(
    ("cached", "current", "status", "celsius"),
    [
        ("{mValue=84.208, mType=0, mName=CPU, mStatus=3}", "{mValue=57.9, mType=0, mName=CPU, mStatus=0}", 0, [57.9]),
        (
            "{mValue=49.202, mType=3, mName=SKIN, mStatus=0}",
            "{mValue=50.77, mType=3, mName=SKIN, mStatus=3}",
            3,
            [50.77],
        ),
        ("{mValue=84.208, mType=0, mName=CPU, mStatus=3}", "", None, None),  # HAL Ready: false
    ],
)
def test_what_android_cached_does_not_count(
    cached: str, current: str, status: int | None, celsius: list[float] | None
) -> None:
    """As a Xiaomi 13T Pro said it, whose global status was 0 all the time."""
    more = f"service\tthermalservice\nThermal Status: 2\nCached temperatures:\n\tTemperature{{mValue={cached}}}\n"
    if current:
        more += f"Current temperatures from HAL:\n\tTemperature{current}\nCurrent cooling devices from HAL:\n"
        more += (
            "\tCoolingDevice{mValue=0, mType=2, mName=CPU}\n\tTemperature{mValue=99.0, mType=0, mName=X, mStatus=6}\n"
        )
    found = parse(text({"online|online": ["0-8"]}, more))
    assert found.observation.samples[0].thermal_status == status
    assert list(found.celsius.values()) == ([celsius] if celsius else [])


# --- hostile and odd phones -----------------------------------------------------------------------------------------


@pytest.mark.fault(
    "A phone's samples hold absurd lists of CPUs, endless numbers or other scripts' digits",
    transport="any",
    outcome="the value counts as not known, everything else is read",
)
@pytest.mark.parametrize(
    "cpus", ["0-99999999999", "5-2", "-1", "0-1,", "٠-٣", "²", "0-" + "9" * 400, "0-9999", "a", "\0"]
)
def test_absurd_lists_of_cpus_are_not_known(cpus: str) -> None:
    more = f"/proc/12/task/12/status:Cpus_allowed_list:\t{cpus}\n/proc/12/task/13/status:Cpus_allowed_list:\t4-5\n"
    found = parse(text({"online|online": [cpus]}, more))
    (moment,) = found.observation.samples
    assert (moment.online, moment.thread_cpus, found.allowed_cpus) == (None, {13: [4, 5]}, [[4, 5]])


@pytest.mark.parametrize("value", ["9" * 400, "²", "٣٤", "-", "1e9", "0x1f", "\0", "--5", "5-2", "nan", "inf", ""])
def test_what_is_no_number_is_not_known(value: str) -> None:
    kinds = [
        "zone|thermal_zone0|BIG",
        "frequency|0",
        "cap|0",
        "battery|temp",
        "battery|current_now",
        "available",
        "faults",
    ]
    found = parse(text({kind: [value] for kind in kinds}, f"top\t0\t{value}\ntrip\tBIG\t{value}\n"))
    (moment,) = found.observation.samples
    assert (moment.celsius, moment.mhz, moment.cap_mhz) == ({}, {}, {})
    assert (moment.available_mb, moment.major_faults, moment.battery_ma) == (None, None, None)
    assert (found.observation.max_mhz, found.observation.trip_celsius) == ({}, {})
    assert parse(f"column\ttime\nsample\t{value}\n").time_s == []


def test_many_sensors_are_read_in_one_pass() -> None:
    """Each sample has sensors of other names: their table would have a hundred million places."""
    one = "sample\t{0}\nservice\tthermalservice\nCurrent temperatures from HAL:\n"
    one += "\tTemperature{{mValue=40.5, mType=0, mName=CPU{0}, mStatus=0}}\n"
    with pytest.raises(ValueError, match="more than a phone takes"):
        parse("column\ttime\n" + "".join(one.format(number) for number in range(10_000)))


def test_a_clock_that_names_every_cpu_in_every_sample_is_refused() -> None:
    every = " ".join(map(str, range(800)))
    samples = "".join(f"sample\t{number}\t1800000\n" for number in range(40_000))
    with pytest.raises(ValueError, match="more than a phone takes"):
        parse(f"column\ttime\ncolumn\tfrequency\t{every}\n{samples}")


def test_endless_lines_are_left_out() -> None:
    spaces = " " * 100_000
    more = f"service\tbattery\n{spaces}level{spaces}:{spaces}\n/proc/12/task/12/status:{'0-1,' * 20_000}\n"
    assert parse(text({"online|online": ["0,1," * 20_000]}, more)).observation.samples[0].online is None
