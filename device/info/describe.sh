# Prints a phone's description in one command: sections that begin with a line "==NAME". It runs with Android's own
# shell and tools, needs no root, and omits values that this user may not read.
root=$1

# PATH TAIL: sets $found to PATH0TAIL, PATH1TAIL ...; tries each number where this user may enter a folder but not list
# it. The same function stands in device/job/runner/sample.sh: each script is sent to the phone alone, this one before
# anything is stored there.
numbered() {
  set -- "$1" "$2" "$1"[0-9]*"$2"
  found= number=0
  if [ -e "$3" ]; then
    shift 2
    found=$*
    return
  fi
  while [ "$number" -lt 256 ]; do
    [ -e "$1$number$2" ] && found="$found $1$number$2"
    number=$((number + 1))
  done
}

echo ==getprop; getprop 2>/dev/null
echo ==uname; uname -srm
echo ==cpuinfo; cat /proc/cpuinfo
# The features that the kernel reports to programs, and the architecture of the program that read them, od itself.
echo ==hwcaps; od -An -v -tx1 -N20 /proc/self/exe 2>/dev/null; echo --; od -An -v -tx8 /proc/self/auxv 2>/dev/null
echo ==meminfo; cat /proc/meminfo
echo ==cpus
numbered /sys/devices/system/cpu/cpu ""
for cpu in $found; do
  max=; online=
  read -r max 2>/dev/null <"$cpu/cpufreq/cpuinfo_max_freq"
  read -r online 2>/dev/null <"$cpu/online"
  echo "${cpu##*cpu} ${max:--} ${online:--}"
done
echo ==thermal
numbered /sys/class/thermal/thermal_zone ""
for zone in $found; do
  type=; temp=
  read -r type 2>/dev/null <"$zone/type"
  read -r temp 2>/dev/null <"$zone/temp"
  [ -n "$temp" ] && echo "$temp $type"
done
echo ==bionic; ls /system/bin/linker64 2>/dev/null
echo ==battery; dumpsys battery 2>/dev/null
for name in capacity status temp; do
  value=
  read -r value 2>/dev/null <"/sys/class/power_supply/battery/$name"
  [ -n "$value" ] && echo "sysfs $name $value"
done
echo ==df
mkdir -p "$root" && df -k "$root"
# The mark distinguishes this phone from others with the same serial number: a random number, kept as the text of a
# symbolic link, which is created once, atomically.
echo ==mark
if [ ! -L "$root/mark" ]; then
  mark=
  read -r mark 2>/dev/null </proc/sys/kernel/random/uuid
  [ "$mark" ] || mark=$(od -An -N16 -tx1 /dev/urandom 2>/dev/null | tr -d ' \n')
  [ "$mark" ] && ln -s "$mark" "$root/mark" 2>/dev/null
fi
readlink "$root/mark" 2>/dev/null
exit 0
