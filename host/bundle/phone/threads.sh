#!/system/bin/sh
# Print the number of threads to use and the reason: as many as this phone has big and mid cores, because the others
# would wait for the little ones.
#
#   sh threads.sh [CPUS]
cpus=${1:-/sys/devices/system/cpu}

# Read the value of one file of every CPU into $values. Fails when one cannot be read: an offline CPU has none, and
# Android does not let every app read it.
read_all() {
  values=''
  for cpu in "$cpus"/cpu[0-9]*; do
    value=''
    [ -r "$cpu/$1" ] && read -r value 2>/dev/null <"$cpu/$1"
    case $value in '' | *[!0-9]*) return 1 ;; esac
    values="$values $value"
  done
}

# Set count, largest and smallest from $values.
extremes() {
  count=0 largest=0 smallest=''
  for value in $values; do
    count=$((count + 1))
    if [ "$value" -gt $largest ]; then largest=$value; fi
    if [ "$value" -lt "${smallest:-$((value + 1))}" ]; then smallest=$value; fi
  done
}

count_above() {
  faster=0
  for value in $values; do
    [ "$value" -gt "$1" ] && faster=$((faster + 1))
  done
}

# The kernel's own rating of each core at its top speed: up to half of the biggest is little. It is also right for
# phones without little cores, and for those whose little cores are nearly as fast.
if read_all cpu_capacity && extremes && [ $largest != "$smallest" ]; then
  count_above $((largest / 2))
  echo "$faster $faster of $count cores are big or mid (cpu_capacity)"
elif read_all cpufreq/cpuinfo_max_freq && extremes; then
  if [ $largest = "$smallest" ]; then
    echo "$count all $count cores are equally fast (cpufreq)"
  else
    count_above "$smallest"
    echo "$faster $faster of $count cores are big or mid (cpufreq)"
  fi
else
  count=0
  for cpu in "$cpus"/cpu[0-9]*; do
    [ -d "$cpu" ] && count=$((count + 1))
  done
  # Most phones have as many little cores as others, or fewer.
  half=$((count / 2))
  [ $count = 0 ] && half=4
  [ $half = 0 ] && half=1
  echo "$half this phone does not report the speed of its cores: half of ${count}"
fi
