# What a phone says of itself, in one trip: sections that begin with a line "==NAME". Runs on Android's own
# shell and tools, needs no root, and leaves out what it may not read.
root=$1
echo ==getprop; getprop 2>/dev/null
echo ==uname; uname -srm
echo ==cpuinfo; cat /proc/cpuinfo
# The kernel's own promise to programs, and of which architecture the program is that was asked: od, itself.
echo ==hwcaps; od -An -v -tx1 -N20 /proc/self/exe 2>/dev/null; echo --; od -An -v -tx8 /proc/self/auxv 2>/dev/null
echo ==meminfo; cat /proc/meminfo
echo ==cpus
for cpu in /sys/devices/system/cpu/cpu[0-9]*; do
  [ -d "$cpu" ] || continue
  max=; online=
  read -r max 2>/dev/null <"$cpu/cpufreq/cpuinfo_max_freq"
  read -r online 2>/dev/null <"$cpu/online"
  echo "${cpu##*cpu} ${max:--} ${online:--}"
done
echo ==thermal
for zone in /sys/class/thermal/thermal_zone[0-9]*; do
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
exit 0
