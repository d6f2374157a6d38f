"""A job through the real runner: on this machine's shell, and on the emulated phone's over adb and SSH."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from smoothdroid.device.common.errors import (
    BadInput,
    CommandFailed,
    Damaged,
    NoPhone,
    PhoneBusy,
    TargetLost,
    TargetTimeout,
    Unreachable,
)
from smoothdroid.device.info.phone import describe
from smoothdroid.device.job.outputs import Done
from smoothdroid.device.job.runner_install import install
from smoothdroid.device.job.session import Session
from smoothdroid.device.job.task import OUTPUT_KB, PARTS, Cooling, Task
from smoothdroid.device.telemetry.conditions import Conditions
from smoothdroid.device.transport.adb import AdbTarget
from smoothdroid.device.transport.local import LocalTarget
from smoothdroid.device.transport.ssh import SshTarget
from smoothdroid.device.transport.target import Target, read, remove
from smoothdroid.device.virtual import VirtualPhone
from tests.waiting import eventually

LOCAL, ADB, SSH = "local", pytest.param("adb", marks=pytest.mark.e2e), pytest.param("ssh", marks=pytest.mark.e2e)

here_only = pytest.mark.parametrize("target", [LOCAL], indirect=True)
over_all = pytest.mark.parametrize("target", [LOCAL, ADB, SSH], indirect=True)
"""For what depends on the phone's user: Termux's, which SSH logs in as, may do less than adb's shell."""


@pytest.fixture(params=[LOCAL, ADB])
def target(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    """A target without jobs: this machine's shell, and the emulated phone's, whose tools are others."""
    if request.param == "local":
        monkeypatch.setenv("SMOOTHDROID_CACHE", str(tmp_path / "cache"))
        chosen: Target = LocalTarget()
    else:
        chosen = request.getfixturevalue(f"{request.param}_target")
    remove(chosen, f"{chosen.root}/jobs")
    yield chosen
    session = Session(chosen)
    if job := session.running_job():
        session.stop(job)


@pytest.fixture
def session(target: Target) -> Session:
    return Session(target)


def sh(name: str, script: str, timeout_s: int = 60, **more: object) -> Task:
    return Task(name, ["sh", "-c", script], timeout_s, **more)  # type: ignore[arg-type]


def measured(session: Session, tasks: Sequence[Task], cooling: Cooling | None = None) -> list[Done]:
    session.start("job", tasks, cooling)
    return list(session.follow("job"))


def until_sampled(session: Session, count: int = 1, *, before: str = "true", cpus: Sequence[int] = ()) -> Task:
    """A task that ends once the runner has sampled it so often."""
    samples = f"{session.target.root}/jobs/job/one.1.samples"
    return sh("one", f"{before}; until [ $(grep -c ^sample {samples}) -ge {count} ]; do sleep 0.1; done", cpus=cpus)


def is_alive(target: Target, words: str) -> bool:
    """Whether a process runs whose command line holds the words."""
    return target.run(["pgrep", "-f", f"[{words[0]}]{words[1:]}"], check=False).exit_status == 0


# --- what a job brings back -------------------------------------------------------------------------------------


@over_all
def test_tasks_run_one_by_one_and_bring_back_what_they_said(session: Session) -> None:
    argv = [
        "sh",
        "-c",
        'printf "%s|" "$@"; echo warned >&2; printf "%s\\n" "$A"; exit 7',
        "sh",
        "it's",
        "$(id)",
        "안녕\n*",
    ]
    one, two = measured(session, [Task("one", argv, 60, env={"A": "a 'b' \\n"}), sh("two", "cat; echo two")])
    assert (one.ended.cell, one.ended.attempt, one.ended.exit_status, one.ended.how) == ("one", 1, 7, "exited")
    assert (one.stdout, one.stderr) == ("it's|$(id)|안녕\n*|a 'b' \\n\n", "warned\n")
    assert (two.ended.exit_status, two.stdout) == (0, "two\n")
    assert two.ended.began_at >= one.ended.began_at
    assert session.running_job() is None
    assert session.jobs() == ["job"]
    session.remove("job")
    assert session.jobs() == []


@here_only
def test_a_job_can_be_forgotten_while_a_runner_looks_for_what_is_left_of_it(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was taken up by a command that did not know that all had ended."""
    session = Session(target)
    measured(session, [sh("one", "true")])
    slow = tmp_path / "bin/termux-wake-lock"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nsleep 60\n")  # it is ended after 10 s, or with the runner
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
    session.resume("job")
    assert session.running_job() == "job"
    session.remove("job")
    assert (session.running_job(), session.jobs()) == (None, [])


@pytest.mark.parametrize(("name", "status"), [("ILL", 132), ("KILL", 137), ("SEGV", 139)])
def test_a_death_by_signal_is_told_and_the_next_task_runs(session: Session, name: str, status: int) -> None:
    one, two = measured(session, [sh("dies", f"echo half; kill -{name} $$"), sh("lives", "echo on")])
    assert (one.ended.exit_status, one.ended.how, one.stdout) == (status, "exited", "half\n")
    assert (two.ended.exit_status, two.stdout) == (0, "on\n")


@over_all
def test_a_task_that_hangs_is_ended_with_its_children(session: Session, target: Target) -> None:
    done, after = measured(session, [sh("hangs", "trap '' TERM; sleep 4321 & sleep 4321", 2), sh("after", "echo on")])
    assert (done.ended.exit_status, done.ended.how) == (137, "timeout")
    assert after.stdout == "on\n"
    eventually(lambda: not is_alive(target, "sleep 4321"))


def test_what_a_task_leaves_behind_is_ended(session: Session, target: Target) -> None:
    (done,) = measured(session, [sh("leaves", "sleep 4322 & echo done")])
    assert (done.ended.exit_status, done.stdout) == (0, "done\n")
    eventually(lambda: not is_alive(target, "sleep 4322"))


def test_a_task_that_never_stops_talking_does_not_fill_the_phone(session: Session) -> None:
    (done,) = measured(session, [sh("talks", "while :; do echo 0123456789abcdef; done")])
    assert done.ended.exit_status == 128 + signal.SIGXFSZ
    assert len(done.stdout) == OUTPUT_KB * 1024


@over_all
def test_a_command_that_is_not_there_is_told(session: Session) -> None:
    (done,) = measured(session, [Task("missing", ["/nowhere/llama-bench"], 10)])
    assert done.ended.exit_status == 127
    assert "/nowhere/llama-bench" in done.stderr


@over_all
def test_a_job_can_be_stopped_and_taken_up_again(session: Session, target: Target) -> None:
    session.start("job", [sh("one", "echo 1"), sh("two", "[ -e $0 ] && echo 2 || { touch $0; sleep 4323; }")])
    following = session.follow("job")
    assert next(following).stdout == "1\n"
    eventually(lambda: is_alive(target, "sleep 4323"), "the second task did not start")
    session.stop("job")
    eventually(lambda: not is_alive(target, "sleep 4323"))
    assert session.running_job() is None
    remove(target, "sh")


# --- what was sampled, and the wait for a cool phone --------------------------------------------------------------


@over_all
def test_samples_tell_what_the_command_was_and_had(session: Session) -> None:
    (done,) = measured(session, [until_sampled(session, 4)])
    assert done.samples
    seen = Conditions.of(done.samples)
    assert seen.samples >= 4
    assert seen.seconds > 0
    assert seen.rss_peak_mb is not None
    assert 0.1 < seen.rss_peak_mb < 50
    assert seen.pss_peak_mb is not None
    assert 0 < seen.pss_peak_mb <= seen.rss_peak_mb
    assert seen.available_mb is not None
    assert seen.allowed_cpus == [sorted(os.sched_getaffinity(0))]
    assert done.ended.runner_cpu_s < done.ended.wall_s


@pytest.mark.fault(
    "A user of the phone may not read sensors in sysfs",
    transport="local",
    outcome="Android's services are asked; what they do not show is named as not checked",
)
def test_services_are_asked_where_sysfs_shows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on most phones for adb's shell. Here, with a dumpsys that says a OnePlus's words."""
    if list(Path("/sys/class/thermal").glob("thermal_zone*")) or Path("/sys/class/power_supply/battery").exists():
        pytest.skip("this machine shows temperatures or a battery")
    monkeypatch.setenv("SMOOTHDROID_CACHE", str(tmp_path / "cache"))
    words = Path(__file__).parents[2] / "data/phones/battery/oneplus_ace5_a15.txt"
    dumpsys = tmp_path / "bin" / "dumpsys"
    dumpsys.parent.mkdir()
    hal = "Current temperatures from HAL:\\n\\tTemperature{mValue=50.77, mType=3, mName=SKIN, mStatus=3}\\n"
    dumpsys.write_text(f"#!/bin/sh\ncase $1 in battery) cat {words} ;; thermalservice) printf '{hal}' ;; esac\n")
    dumpsys.chmod(0o755)
    monkeypatch.setenv("PATH", f"{dumpsys.parent}:{os.environ['PATH']}")
    session = Session(LocalTarget())
    (done,) = measured(session, [until_sampled(session)])
    assert done.samples
    seen = Conditions.of(done.samples)
    assert {"zone", "battery"}.isdisjoint(seen.missing)
    assert seen.celsius["SKIN"].first == 50.77
    assert (seen.battery_status, seen.level_percent and seen.level_percent.first) == (["Charging"], 87)
    assert seen.current_ma
    assert seen.current_ma.first == -1589
    for limit, too_hot in ((50, "hal:SKIN"), (51, None)):
        session.remove("job")
        (done,) = measured(session, [sh("one", "echo 1")], Cooling(celsius=limit, within_s=1))
        assert done.ended.waited
        assert done.ended.waited.too_hot == too_hot


@pytest.mark.e2e
@pytest.mark.parametrize("way", ["adb_target", "ssh_target"])
def test_samples_tell_what_the_phone_shows(phone: VirtualPhone, request: pytest.FixtureRequest, way: str) -> None:
    target: Target = request.getfixturevalue(way)
    remove(target, f"{target.root}/jobs")
    session = Session(target)
    (done,) = measured(session, [until_sampled(session)])
    assert done.samples
    seen = Conditions.of(done.samples)
    assert seen.missing == []
    assert seen.celsius["BIG"].first == 26.0
    assert seen.celsius["VIRTUAL-SKIN"].highest == 24.833
    assert (seen.mhz["5"].first, seen.cap_mhz["5"].first, seen.governor["5"]) == (2367.0, 2367.0, ["sched_pixel"])
    assert seen.online == ["0-8"]
    assert (seen.battery_status, seen.level_percent and seen.level_percent.first) == (["Discharging"], 77)
    assert seen.current_ma
    assert seen.current_ma.mean == -210.0
    assert seen.volt
    assert seen.volt.mean == 4.127
    assert seen.available_mb
    assert seen.available_mb.first == 4102340 / 1024
    assert done.samples.observation.max_mhz == {
        **dict.fromkeys(range(4), 1704),
        **dict.fromkeys(range(4, 8), 2367),
        8: 2914,
    }
    assert done.samples.observation.samples[0].major_faults is not None


@contextmanager
def heated(phone: VirtualPhone, zone: int, millicelsius: int) -> Iterator[Path]:
    """The phone with one zone at another temperature."""
    file = phone.folder / f"sys/class/thermal/thermal_zone{zone}/temp"
    before = file.read_text()
    file.write_text(f"{millicelsius}\n")
    try:
        yield file
    finally:
        file.write_text(before)


@contextmanager
def readings(phone: VirtualPhone, zone: int, *millicelsius: int) -> Iterator[None]:
    """The phone with a zone that shows one temperature after the other, each to one reader."""
    file = phone.folder / f"sys/class/thermal/thermal_zone{zone}/temp"
    before = file.read_text()
    file.unlink()
    os.mkfifo(file)
    file.chmod(0o644)
    with file.open("r+b", buffering=0) as queue:
        queue.write("".join(f"{value}\n" for value in millicelsius).encode())
        try:
            yield
        finally:
            file.unlink()
            file.write_text(before)


@pytest.mark.e2e
def test_a_hot_phone_is_waited_for_and_the_wait_is_told(phone: VirtualPhone, adb_target: AdbTarget) -> None:
    remove(adb_target, f"{adb_target.root}/jobs")
    session = Session(adb_target)
    with heated(phone, 1, 61_000) as file:
        session.start("job", [sh("one", "echo 1")], Cooling(celsius=45, within_s=600))
        eventually(lambda: is_alive(adb_target, "sleep 1"), "it did not wait")
        assert not any(
            line.startswith("begin") for line in read(adb_target, f"{adb_target.root}/jobs/job/journal").splitlines()
        )
        file.write_text("45000\n")
        (done,) = session.follow("job")
    assert done.ended.waited
    assert done.ended.waited.too_hot is None
    assert done.ended.waited.seconds >= 1


@pytest.mark.e2e
@pytest.mark.fault(
    "A phone stays hotter than `--cool` asks for",
    transport="ssh",
    outcome="it is measured when the time is over, and the cell names the sensor that was too hot",
)
def test_a_phone_that_stays_hot_is_measured_all_the_same_and_the_record_says_so(
    phone: VirtualPhone, ssh_target: SshTarget
) -> None:
    remove(ssh_target, f"{ssh_target.root}/jobs")
    session = Session(ssh_target)
    sensor = "/sys/class/thermal/thermal_zone4/temp"
    heats = sh("heats", f"until [ $(cat {sensor}) = 27100 ]; do sleep 0.1; done; echo 1")
    session.start("job", [heats, sh("hot", "echo 2")], Cooling(above_start=2, within_s=2))
    with heated(phone, 4, 27_100):  # it was 25.0
        first, hot = session.follow("job")
    assert first.ended.waited
    assert hot.ended.waited
    assert hot.ended.waited.too_hot == "thermal_zone4"
    assert hot.ended.waited.seconds >= 2
    assert hot.stdout == "2\n"


@pytest.mark.e2e
def test_a_warmer_phone_is_waited_for_until_it_is_as_cool_as_at_the_start(
    phone: VirtualPhone, adb_target: AdbTarget
) -> None:
    remove(adb_target, f"{adb_target.root}/jobs")
    at_start = Session(adb_target).zones()
    with heated(phone, 4, 27_100):  # it was 25.0
        session = Session(adb_target)
        session.start("job", [sh("hot", "echo 1")], Cooling(above_start=2, within_s=1), at_start)
        (done,) = session.follow("job")
    assert done.ended.waited
    assert (done.ended.waited.too_hot, done.ended.waited.kind) == ("thermal_zone4", "TPU")


@contextmanager
def added(phone: VirtualPhone, zone: str, **files: str) -> Iterator[Path]:
    """The phone with another thermal zone."""
    folder = phone.folder / "sys/class/thermal" / zone
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n")
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.mark.e2e
def test_a_stuck_sensor_is_not_waited_for(phone: VirtualPhone, adb_target: AdbTarget) -> None:
    """A mtkts_bts1 parked at 125000 (jxlarrea/kiosk-satellite #654)."""
    remove(adb_target, f"{adb_target.root}/jobs")
    with added(phone, "thermal_zone50", type="mtkts_bts1", temp="125000"):
        found = Session(adb_target).zones()
        (done,) = measured(Session(adb_target), [sh("one", "echo 1")], Cooling(celsius=40, within_s=50))
    assert [(zone.kind, zone.celsius) for zone in found.stuck] == [("mtkts_bts1", 125.0)]
    assert done.ended.waited
    assert done.ended.waited.too_hot is None


@pytest.mark.e2e
def test_one_odd_reading_does_not_end_the_wait(phone: VirtualPhone, adb_target: AdbTarget) -> None:
    """The only hot zone answers -127 at the first look, and is as hot as before at the second."""
    remove(adb_target, f"{adb_target.root}/jobs")
    session = Session(adb_target)
    at_start = session.zones()
    with readings(phone, 1, -127_000, *[61_000] * 100):
        session.start("job", [sh("one", "echo 1")], Cooling(celsius=45, within_s=2), at_start)
        (done,) = session.follow("job")
    assert done.ended.waited
    assert done.ended.waited.too_hot == "thermal_zone1"


@pytest.mark.e2e
@pytest.mark.fault(
    "An app may enter /sys/devices/system/cpu and not list it",
    transport="ssh",
    outcome="CPUs and zones are found by their names",
)
@pytest.mark.parametrize("way", ["adb_target", "ssh_target"])
def test_folders_that_can_be_entered_and_not_listed(
    phone: VirtualPhone, request: pytest.FixtureRequest, way: str
) -> None:
    """As in Rakashazi/emu-ex-plus-alpha #1303 and ARM devlib #390."""
    target: Target = request.getfixturevalue(way)
    remove(target, f"{target.root}/jobs")
    closed = [phone.folder / "sys/devices/system/cpu", phone.folder / "sys/class/thermal"]
    modes = [folder.stat().st_mode for folder in closed]
    try:
        for folder in closed:
            folder.chmod(0o711)
        assert target.run(["ls", "/sys/devices/system/cpu"], check=False).exit_status != 0
        found = describe(target)
        session = Session(target)
        (done,) = measured(session, [until_sampled(session)])
    finally:
        for folder, mode in zip(closed, modes, strict=True):
            folder.chmod(mode)
    assert [cluster.max_mhz for cluster in found.clusters] == [2914, 2367, 1704]
    assert found.celsius["BIG"] == 26.0
    assert done.samples
    seen = Conditions.of(done.samples)
    assert (seen.mhz["5"].first, seen.cap_mhz["8"].first, seen.celsius["BIG"].first) == (2367.0, 2914.0, 26.0)
    assert (done.samples.observation.max_mhz[8], seen.missing) == (2914, [])


@pytest.mark.e2e
@pytest.mark.fault(
    "An app may not read the CPUs' highest frequencies, or the maker leaves one low",
    transport="any",
    outcome="the cell says `not checked: frequency caps`; a low one makes it throttled",
)
def test_caps_that_cannot_be_read_and_one_that_is_left_low(phone: VirtualPhone, ssh_target: SshTarget) -> None:
    """termux/termux-packages #29844, Grarak/KernelAdiutor #405."""
    remove(ssh_target, f"{ssh_target.root}/jobs")
    caps = sorted((phone.folder / "sys/devices/system/cpu").glob("cpu*/cpufreq/scaling_max_freq"))
    before = [(cap.read_text(), cap.stat().st_mode) for cap in caps]
    try:
        caps[-1].write_text("1500000\n")
        session = Session(ssh_target)
        (low,) = measured(session, [until_sampled(session)])
        for cap in caps:
            cap.chmod(0)
        session.remove("job")
        (closed,) = measured(session, [until_sampled(session)])
    finally:
        for cap, (text, mode) in zip(caps, before, strict=True):
            cap.chmod(mode)
            cap.write_text(text)
    assert low.samples
    assert closed.samples
    held = low.samples.observation
    assert (held.samples[0].cap_mhz[8], held.max_mhz[8]) == (1500, 2914)
    assert closed.samples.missing == ["cap"]
    assert closed.samples.observation.samples[0].cap_mhz == {}


@pytest.mark.e2e
def test_trip_points_at_which_nothing_is_slowed_down_are_left_out(phone: VirtualPhone, adb_target: AdbTarget) -> None:
    remove(adb_target, f"{adb_target.root}/jobs")
    session = Session(adb_target)
    trip = {"temp": "40000", "trip_point_0_type": "passive", "trip_point_0_temp": "85000"}
    with (
        added(phone, "thermal_zone50", type="left-to-user", policy="user_space", mode="enabled", **trip),
        added(phone, "thermal_zone51", type="off", policy="step_wise", mode="disabled", **trip),
        added(phone, "thermal_zone52", type="steps", policy="step_wise", mode="enabled", **trip),
        added(phone, "thermal_zone53", type="old", **trip),
    ):
        (done,) = measured(session, [until_sampled(session)])
        session.remove("job")
        # Once some zone shows its cooling devices, one that has none slows nothing down.
        with added(phone, "thermal_zone54", type="bound", policy="step_wise", cdev0_trip_point="0", **trip):
            (again,) = measured(session, [until_sampled(session)])
    assert done.samples
    assert done.samples.observation.trip_celsius == {"steps": 85.0, "old": 85.0}
    assert again.samples
    assert again.samples.observation.trip_celsius == {"bound": 85.0}


@pytest.mark.fault(
    "`--cool` is asked of a phone that shows no temperature",
    transport="local",
    outcome="an error says to leave it out",
)
def test_cooling_where_no_temperature_is_shown_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMOOTHDROID_CACHE", str(tmp_path))
    if list(Path("/sys/class/thermal").glob("thermal_zone*")):
        pytest.skip("this machine shows temperatures")
    with pytest.raises(BadInput, match="shows this user no temperature"):
        Session(LocalTarget()).start("job", [sh("one", "echo 1")], Cooling(celsius=40))


def test_a_mask_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here, with a taskset that sets one: the emulated phone has more CPUs than this machine."""
    monkeypatch.setenv("SMOOTHDROID_CACHE", str(tmp_path))
    cpu, *others = sorted(os.sched_getaffinity(0))
    session = Session(LocalTarget())
    (one,) = measured(session, [until_sampled(session, 3, cpus=[cpu])])
    session.remove("job")
    # As an init or a cgroup would, from outside and in the middle.
    widens = f"taskset -p {1 << others[-1]:x} $$ >&2"
    (two,) = measured(session, [until_sampled(session, 3, before=widens, cpus=[cpu])])
    assert one.samples
    assert two.samples
    assert one.samples.held([cpu]) is True
    assert two.samples.held([cpu]) is False
    assert two.samples.allowed_cpus[-1] == [others[-1]], "the first sample may be older than the change"


def test_a_job_can_be_stopped_between_two_tasks(target: Target, session: Session) -> None:
    session.start("job", [sh("one", "sleep 60")])
    measured_file = f"{target.root}/measured"
    eventually(lambda: target.run(["test", "-e", measured_file], check=False).exit_status == 0, "it began")
    remove(target, measured_file)  # as it is between two
    session.stop("job")
    assert session.running_job() is None


# --- one at a time ----------------------------------------------------------------------------------------------


def test_a_second_host_attaches_to_the_same_job_and_refuses_another(target: Target, session: Session) -> None:
    release = f"{target.root}/release"
    remove(target, release)
    session.start("job", [sh("one", f"until [ -e {release} ]; do sleep 0.1; done; echo 1", 600)])
    second = Session(target)
    with pytest.raises(PhoneBusy, match="another job, job, and two"):
        second.start("other", [sh("one", "echo other")])
    assert second.jobs() == ["job"], "nothing was written"
    second.start("job", [sh("one", "echo never")])
    target.run(["touch", release])
    assert [done.stdout for done in second.follow("job")] == ["1\n"]
    assert [done.stdout for done in session.follow("job")] == ["1\n"]
    assert read(target, f"{target.root}/jobs/job/journal").count("\nbegin ") == 1


def test_two_starts_at_once_make_one_runner(target: Target, session: Session) -> None:
    session.start("job", [sh("one", "echo 1")])
    list(session.follow("job"))
    script = f"{install(target)}"
    remove(target, f"{target.root}/jobs/job/journal")
    both = f"for i in 1 2 3 4; do sh {script} start {target.root} job & done; wait"
    assert target.run(["sh", "-c", both]).stdout == 4 * "running job\n"
    assert len(list(session.follow("job"))) == 1
    assert read(target, f"{target.root}/jobs/job/journal").count("\nbegin ") == 1


@pytest.mark.e2e
@pytest.mark.parametrize(("first", "second"), [("adb_target", "ssh_target"), ("ssh_target", "adb_target")])
def test_a_runner_of_another_user_of_the_phone_is_seen(first: str, second: str, request: pytest.FixtureRequest) -> None:
    """Termux and adb's shell cannot read each other's folders, and only the shell sees the other's processes."""
    at_work, comes_later = (Session(request.getfixturevalue(name)) for name in (first, second))
    remove(at_work.target, f"{at_work.target.root}/jobs")
    assert comes_later.running_job() is None
    at_work.start("mine", [sh("one", "sleep 60")])
    try:
        assert comes_later.running_job() == "mine"
        with pytest.raises(PhoneBusy, match="another job, mine,"):
            comes_later.start("other", [sh("one", "echo other")])
    finally:
        at_work.stop("mine")
    assert comes_later.running_job() is None


@pytest.mark.parametrize(
    "owner", ["{pid}/1/{boot}/old", "{pid}/{ticks}/0000-another-boot/old", "999999/1/{boot}/old", "junk"]
)
def test_a_stale_lock_is_no_lock(target: Target, session: Session, owner: str) -> None:
    """A process number that another process has now, another boot of the phone, a dead process, nonsense."""
    boot = read(target, "/proc/sys/kernel/random/boot_id").strip()
    pid, stat = target.run(["sh", "-c", 'echo $PPID; read -r stat </proc/$PPID/stat; echo "$stat"']).stdout.splitlines()
    ticks = stat.rpartition(")")[2].split()[19]
    target.run(["mkdir", "-p", target.root])
    target.run(["ln", "-s", owner.format(pid=pid, boot=boot, ticks=ticks), f"{target.root}/lock"])
    assert session.running_job() is None
    (done,) = measured(session, [sh("one", "echo 1")])
    assert done.stdout == "1\n"


# --- kills and cuts ---------------------------------------------------------------------------------------------


def kill_runner(target: Target) -> None:
    pid = target.run(["readlink", f"{target.root}/lock"]).stdout.partition("/")[0]
    target.run(["kill", "-9", pid])


@over_all
def test_a_killed_runner_is_started_again_its_orphan_ended_and_nothing_runs_twice(
    target: Target, session: Session
) -> None:
    script = "echo $$ >>$0; [ $(wc -l <$0) -ge 2 ] && echo 2 || exec sleep 4324"
    count = f"{target.root}/count"
    tasks = [sh("one", "echo 1"), Task("two", ["sh", "-c", script, count], 60), sh("three", "echo 3")]
    remove(target, count)
    session.start("job", tasks)
    following = session.follow("job")
    assert next(following).stdout == "1\n"
    eventually(lambda: is_alive(target, "sleep 4324"), "the second task did not start")
    kill_runner(target)
    assert [(done.ended.cell, done.ended.attempt, done.stdout) for done in following] == [
        ("two", 2, "2\n"),
        ("three", 1, "3\n"),
    ]
    eventually(lambda: not is_alive(target, "sleep 4324"))


def test_a_task_that_takes_the_runner_down_each_time_is_given_up(target: Target, session: Session) -> None:
    kills = f"kill -9 $(readlink {target.root}/lock | cut -d/ -f1); sleep 60"
    bad, good = measured(session, [sh("bad", kills), sh("good", "echo on")])
    assert (bad.ended.how, bad.ended.attempt, bad.samples) == ("abandoned", 3, None)
    assert good.stdout == "on\n"


def test_a_journal_cut_at_any_byte_is_taken_up(target: Target, session: Session) -> None:
    tasks = [sh("one", "echo 1"), sh("two", "echo 2")]
    measured(session, tasks)
    journal = f"{target.root}/jobs/job/journal"
    whole = read(target, journal)
    first_end = whole.index(" .", whole.index("end one")) + 3
    for size in (1, whole.index("begin one") + 7, first_end - 1, first_end - 2, first_end, len(whole) - 1):
        target.run(["truncate", "-s", str(size), journal])
        session.resume("job")
        done = list(session.follow("job"))
        assert [(each.ended.cell, each.stdout) for each in done] == [("one", "1\n"), ("two", "2\n")], whole[:size]


def test_a_clock_set_back_moves_no_time_limit_and_no_duration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here, where `date` can be another one that goes back an hour each time."""
    monkeypatch.setenv("SMOOTHDROID_CACHE", str(tmp_path / "cache"))
    (tmp_path / "now").write_text("1795400000\n")
    date = tmp_path / "bin" / "date"
    date.parent.mkdir()
    date.write_text(f"#!/bin/sh\nread -r now <{tmp_path}/now; echo $((now - 3600)) | tee {tmp_path}/now\n")
    date.chmod(0o755)
    monkeypatch.setenv("PATH", f"{date.parent}:{os.environ['PATH']}")
    session = Session(LocalTarget())
    one, two = measured(session, [sh("one", "sleep 2"), sh("hangs", "sleep 60", 3)])
    assert two.ended.began_at < one.ended.began_at
    assert 2 <= one.ended.wall_s < 3000, "nowhere the hours that the clock was set back by"
    assert 3 <= two.ended.wall_s < 3000
    assert two.ended.how == "timeout"


@over_all
def test_a_folder_that_cannot_be_written_any_more_stops_the_runner_and_keeps_what_ended(
    target: Target, session: Session
) -> None:
    if isinstance(target, LocalTarget) and os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    folder = f"{target.root}/jobs/job"
    session.start("job", [sh("one", f"chmod 555 {folder}; echo 1"), sh("two", "echo 2")])
    with pytest.raises(CommandFailed, match=r"two\.1\.\* cannot be written"):
        list(session.follow("job"))
    target.run(["chmod", "755", folder])
    session.resume("job")
    assert [(it.stdout, it.ended.attempt) for it in session.follow("job")] == [("1\n", 1), ("2\n", 1)]


# --- a damaged job ----------------------------------------------------------------------------------------------


def finished_job(session: Session, target: Target) -> str:
    """A job whose two tasks have ended; returns its folder."""
    session.start("job", [sh("one", "echo 1; echo warned >&2"), sh("two", "echo 2")])
    eventually(lambda: session.running_job() is None, "the job did not end")
    return f"{target.root}/jobs/job"


def collected(session: Session) -> tuple[dict[str, str], list[str]]:
    """What the tasks said, and what was damaged, in the words of the warnings."""
    damage: list[str] = []
    with suppress(Damaged):  # following it says the same
        session.resume("job")
    return {done.ended.cell: done.stdout for done in session.follow("job", on_damage=damage.append)}, damage


@pytest.mark.fault(
    "a cell's output changed on the phone after it was measured",
    transport="any",
    outcome="the file is named, the other cells are collected, and the cell is measured again",
)
@here_only
@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("echo forged >one.1.stdout", "not what the runner wrote when the cell ended"),
        (": >one.1.stdout", "not what the runner wrote"),
        (": >one.1.stderr", "not what the runner wrote"),
        (": >one.1.samples", "not what the runner wrote"),
        ("rm one.1.stdout", r"stdout is gone"),
        ("rm one.1.stderr", r"stderr is gone"),
        ("rm one.1.samples", r"samples is gone"),
        ("rm one.1.stdout; mkdir one.1.stdout", "stdout (is gone or )?cannot be read"),
        ("truncate -s 70000000 one.1.stdout", "stdout has 70000000 bytes, more than any"),
    ],
)
def test_output_that_changed_after_the_journal_was_written_is_left_out_and_named(
    target: Target, session: Session, does: str, said: str
) -> None:
    folder = finished_job(session, target)
    target.run(["sh", "-c", f"cd {folder}; {does}"])
    said_by, damage = collected(session)
    assert said_by == {"two": "2\n"}
    assert len(damage) == 1
    assert re.search(rf"jobs/job/one\.1\..*{said}.*counts as not measured", damage[0])
    with pytest.raises(Damaged, match=r"one\.1\."):
        list(session.follow("job"))
    session.remove("job")
    session.start("job", [sh("one", "echo 1")])
    assert [done.stdout for done in session.follow("job")] == ["1\n"]


@pytest.mark.fault(
    "a job's samples cannot be parsed", transport="any", outcome="the cell counts as not measured and runs again"
)
@here_only
def test_samples_without_a_header_are_damage(target: Target, session: Session) -> None:
    folder = f"{target.root}/jobs/job"
    session.start("job", [sh("one", f"echo 1; : >{folder}/one.1.samples"), sh("two", "echo 2")])
    said_by, damage = collected(session)
    assert said_by == {"two": "2\n"}
    assert "one.1.samples: the samples have no header" in damage[0]


@pytest.mark.fault(
    "a job's list of cells, commands or settings is lost or changed",
    transport="any",
    outcome="what had ended is collected, nothing is run from it, and the rest is measured in another job",
)
@here_only
@pytest.mark.parametrize(
    ("does", "name"),
    [("rm", name) for name in (*PARTS, "sum")]
    + [(": >", name) for name in ("cells", "commands.sh", "limits", "sum")]
    + [("echo >>", name) for name in PARTS],
)
def test_a_job_that_is_not_as_it_was_sent_runs_nothing_and_brings_what_had_ended(
    target: Target, session: Session, name: str, does: str
) -> None:
    session.start("job", [sh("one", "echo 1"), sh("two", "sleep 60; echo 2")])
    assert next(iter(session.follow("job"))).stdout == "1\n"
    session.stop("job")
    ran = read(target, f"{target.root}/jobs/job/journal").count("begin two")
    target.run(["sh", "-c", f"cd {target.root}/jobs/job; {does} {name}"])
    with pytest.raises(Damaged, match=f"{name} lost or damaged"):
        session.resume("job")
    said_by, damage = collected(session)
    assert (said_by, len(damage)) == ({"one": "1\n"}, 1)
    assert name in damage[0]
    assert read(target, f"{target.root}/jobs/job/journal").count("begin two") == ran
    session.remove("job")
    assert session.jobs() == []


def test_commands_that_change_while_a_job_runs_are_not_run(target: Target, session: Session) -> None:
    folder = f"{target.root}/jobs/job"
    session.start("job", [sh("one", f"sed -i 's/echo 2/echo 3/' {folder}/commands.sh; echo 1"), sh("two", "echo 2")])
    said_by, damage = collected(session)
    assert (said_by, len(damage)) == ({"one": "1\n"}, 1)
    assert "commands.sh lost or damaged" in damage[0]


@pytest.mark.fault(
    "a job's journal is empty or missing",
    transport="any",
    outcome="this is reported, and its cells are measured again in the same job",
)
@here_only
@pytest.mark.parametrize("does", ["rm journal", ": >journal"])
def test_a_job_without_its_journal_is_measured_again(target: Target, session: Session, does: str) -> None:
    folder = finished_job(session, target)
    target.run(["sh", "-c", f"cd {folder}; {does}"])
    said_by, damage = collected(session)
    assert said_by == {"one": "1\n", "two": "2\n"}
    assert len(damage) == 1
    assert "journal: it was empty or gone" in damage[0]


@here_only
def test_a_journal_that_is_gone_or_huge_while_it_is_followed_ends_the_job(target: Target, session: Session) -> None:
    for does in ("rm journal", "truncate -s 40000000 journal", "rm journal; mkdir journal"):
        folder = finished_job(session, target)
        target.run(["sh", "-c", f"cd {folder}; {does}"])
        damage: list[str] = []
        assert list(session.follow("job", on_damage=damage.append)) == []
        assert "journal is gone or too large" in damage[0]
        session.remove("job")


JOURNALS = {
    "zeros at its end": ("head -c 4096 /dev/zero >>journal", 0),
    "zeros instead of its last line": ("sed -i '/^finished/d' journal; head -c 4096 /dev/zero >>journal", 0),
    "zeros instead of a cell's end": ("sed -i 's/^end two .*/\\x00\\x00\\x00/; /^finished/d' journal", 1),
    "a cell's end with another number": ("sed -i 's/^end two 1 0/end two 1 1/; /^finished/d' journal", 1),
    "a cell's begin with another time": ("sed -i 's/^begin two 1 1/begin two 1 2/' journal", 1),
    "a cell's end twice": ("grep '^end one' journal >>journal.2; cat journal.2 >>journal", 0),
    "a line of another job": ("echo 'end one 1 0 exited 1 1 - #0123456789abcdef .' >>journal", 0),
    "any line": ("echo nonsense >>journal", 0),
}
"""What is done to the journal of a job that has ended, and how many cells are lost by it."""


@pytest.mark.fault(
    "zeros, foreign or repeated lines or other numbers in a job's journal",
    transport="any",
    outcome="every cell whose lines are intact is collected, once",
)
@pytest.mark.parametrize("name", JOURNALS)
def test_a_damaged_journal_brings_all_that_is_intact_and_the_runner_measures_the_rest(
    target: Target, session: Session, name: str
) -> None:
    does, lost = JOURNALS[name]
    folder = finished_job(session, target)
    target.run(["sh", "-c", f"cd {folder}; {does}"])
    said_by, damage = collected(session)
    again = "begin two 2" in read(target, f"{folder}/journal")
    assert said_by == ({"one": "1\n", "two": "2\n"} if again or not lost else {"one": "1\n"})
    assert again == (name.startswith(("zeros instead of a cell's", "a cell's end with")))
    assert damage
    assert all("jobs/job/journal: " in each for each in damage)


@pytest.mark.fault(
    "a folder stands where the runner's lock or notes should be",
    transport="any",
    outcome="it is replaced, and no job is kept out",
)
@pytest.mark.parametrize("name", ["/lock", "/lock.guard", ".at-work", "/measured"])
def test_something_else_in_the_place_of_the_lock_keeps_nobody_out(target: Target, session: Session, name: str) -> None:
    target.run(["rm", "-rf", f"{target.root}{name}"])
    target.run(["mkdir", "-p", f"{target.root}{name}/x"])
    assert session.running_job() is None
    (done,) = measured(session, [sh("one", "echo 1")])
    assert done.stdout == "1\n"
    assert session.running_job() is None


@pytest.mark.fault(
    "the runner's own scripts are damaged on the phone", transport="any", outcome="they are sent again before they run"
)
def test_a_damaged_runner_is_sent_again(target: Target, session: Session) -> None:
    measured(session, [sh("one", "echo 1")])
    script = install(target)
    target.run(["sh", "-c", f": >{script}"])
    later = Session(target)
    later.remove("job")
    assert [done.stdout for done in measured(later, [sh("one", "echo 2")])] == ["2\n"]


@pytest.mark.fault(
    "a removal of a job is interrupted", transport="any", outcome="nothing of it is seen, and the next start sweeps it"
)
def test_a_removal_is_seen_whole_or_not_at_all_and_its_rest_is_swept(target: Target, session: Session) -> None:
    folder = finished_job(session, target)
    target.run(["mv", folder, f"{folder}.trash"])
    assert session.jobs() == []
    target.run(["mkdir", "-p", folder, f"{folder}.trash/x"])
    session.remove("job")
    assert target.run(["ls", f"{target.root}/jobs"]).stdout == ""
    target.run(["mkdir", "-p", f"{folder}.trash/x"])
    session.start("other", [sh("one", "echo 1")])
    assert target.run(["ls", f"{target.root}/jobs"]).stdout == "other\n"


def test_what_a_cell_said_is_on_flash_before_it_counts_as_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here, with a sync that writes down what it is asked for."""
    monkeypatch.setenv("SMOOTHDROID_CACHE", str(tmp_path / "cache"))
    tool = tmp_path / "bin/fsync"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\necho "$*" "$(grep -c ^end "$(dirname "$1")/journal")" >>{tmp_path}/asked\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    measured(Session(LocalTarget()), [sh("one", "echo 1")])
    folder = f"{LocalTarget().root}/jobs/job"
    outputs = " ".join(f"{folder}/one.1.{kind}" for kind in ("stdout", "stderr", "samples"))
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[:3] == [f"{folder}/journal 0", f"{outputs} 0", f"{folder}/journal 1"]


def test_names_are_checked_before_the_phone_is_touched(session: Session) -> None:
    for name in ("", "../x", "a b", "x;reboot", "안"):
        with pytest.raises(BadInput, match="cannot be the name of a job"):
            session.start(name, [])
        with pytest.raises(BadInput, match="cannot be the name of a job"):
            session.start("job", [sh(name, "echo 1")])
    with pytest.raises(BadInput, match="the same name"):
        session.start("job", [sh("one", "echo 1"), sh("one", "echo 2")])
    assert session.jobs() == []


@over_all
def test_the_jobs_folder_cannot_be_written(target: Target, session: Session) -> None:
    """Of a job that lies there already; on this machine root may write everywhere, so only on the phone."""
    if isinstance(target, LocalTarget) and os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    session.start("job", [sh("one", "echo 1")])
    list(session.follow("job"))
    target.run(["rm", f"{target.root}/jobs/job/journal"])
    target.run(["chmod", "555", f"{target.root}/jobs/job"])
    try:
        with pytest.raises(CommandFailed, match=r"jobs/job cannot be written"):
            session.resume("job")
    finally:
        target.run(["chmod", "755", f"{target.root}/jobs/job"])
    assert session.running_job() is None


class Breaks:
    """A way that breaks once, at its n-th use, before or after the phone did what was asked."""

    def __init__(self, target: Target, at: int, after: bool) -> None:
        self.kind, self.name, self.root = target.kind, target.name, target.root
        self._target, self._at, self._after = target, at, after
        self.uses = 0

    def close(self) -> None:
        """The way below is the fixture's."""

    def __getattr__(self, name: str) -> Callable[..., object]:
        method = getattr(self._target, name)

        def use(*arguments: object, **options: object) -> object:
            self.uses += 1
            if (breaks := self.uses == self._at) and not self._after:
                raise TargetLost("cut")
            answer = method(*arguments, **options)
            if breaks:
                raise TargetLost("cut")
            return answer

        return use


@here_only
@pytest.mark.parametrize("after", [False, True])
def test_a_way_that_breaks_at_any_moment_changes_nothing(target: Target, after: bool) -> None:
    """In start, in collection, anywhere: the same results, each once."""
    last, broke = 0, True
    while broke:
        remove(target, f"{target.root}/jobs")
        last += 1
        way: Any = Breaks(target, last, after)
        whole: Any = partial(Breaks, target, 0, after)
        done = measured(Session(way, reopen=whole), [sh("one", "echo 1"), sh("two", "echo 2")])
        assert [(it.ended.cell, it.ended.attempt, it.stdout) for it in done] == [("one", 1, "1\n"), ("two", 1, "2\n")]
        broke = way.uses >= last
    assert last > 15


@pytest.mark.fault(
    "the phone does not come back in time",
    transport="any",
    outcome="the command ends and says what was last in the way; what runs there goes on, the same command collects it",
)
def test_a_phone_that_does_not_come_back_is_lost_and_says_what_goes_on() -> None:
    def gone() -> Target:
        raise Unreachable("unplugged")

    way: Any = Breaks(LocalTarget(), 1, after=False)
    with pytest.raises(TargetLost, match=r"not back within 0 s; the last attempt: unplugged.*the same command again"):
        Session(way, reopen=gone, patience_s=0.4).running_job()


@pytest.mark.fault(
    "while a lost phone is waited for, something refuses for good (two phones with one serial, no SFTP)",
    transport="any",
    outcome="it is not waited for any longer: the refusal's own message is shown at once",
)
@pytest.mark.parametrize("refusal", [NoPhone("two phones with the serial X"), BadInput("no such target")])
def test_what_refuses_for_good_is_not_waited_for(refusal: Exception) -> None:
    tries = []

    def refuses() -> Target:
        tries.append(1)
        raise refusal

    way: Any = Breaks(LocalTarget(), 1, after=False)
    with pytest.raises(type(refusal), match=str(refusal)):
        Session(way, reopen=refuses, patience_s=1000).running_job()
    assert len(tries) == 1


@pytest.mark.fault(
    "a phone starts again: adb lists it as gone, then offline, then unauthorized, then it breaks once more",
    transport="adb",
    outcome="it is tried again, with growing pauses, until it answers",
)
@here_only
def test_what_may_come_back_is_tried_again(target: Target) -> None:
    refusals = [Unreachable("no phone"), Unreachable("offline"), TargetTimeout("silent"), Unreachable("unauthorized")]

    def comes_back() -> Target:
        if refusals:
            raise refusals.pop(0)
        return cast(Target, Breaks(target, 0, after=False))

    way: Any = Breaks(target, 1, after=False)
    assert Session(way, reopen=comes_back).running_job() is None
    assert refusals == []


def test_a_way_that_opens_and_breaks_each_time_is_given_up() -> None:
    opened = []

    def breaks() -> Target:
        opened.append(1)
        return cast(Target, Breaks(LocalTarget(), 1, after=False))

    with pytest.raises(TargetLost, match="not back within 1 s"):
        Session(breaks(), reopen=breaks, patience_s=1).running_job()
    assert 2 <= len(opened) <= 5, "with pauses"


@pytest.mark.fault(
    "an order to start a job arrives after the order to stop it",
    transport="any",
    outcome="nothing is started",
)
def test_a_start_that_arrives_after_its_stop_starts_nothing(target: Target, session: Session) -> None:
    """Ctrl-C in the middle of a start: the phone may get both orders in any order."""
    session.start("job", [sh("one", "sleep 60")])
    session.stop("job")
    script = install(target)
    late = [target.root, "job", session._start_id]
    assert target.run(["sh", script, "start", *late]).stdout == "stopped\n"
    assert session.running_job() is None
    session.resume("job")
    assert session.running_job() == "job", "a later start is another order"


def test_an_interrupt_before_the_job_is_followed_ends_the_runner_all_the_same(session: Session) -> None:
    session.start("job", [sh("cell", "sleep 100", 200)])
    session.interrupt()
    with pytest.raises(KeyboardInterrupt):
        list(session.follow("job"))
    assert session.running_job() is None
