# Samples the phone while a cell runs, about once a second, as raw values: the workstation converts units. The shell
# itself reads the files, without a process for each; where many slow sensors make that take more than 1 % of a core,
# samples are taken less often.
#
# The file has a line `column KIND NAME...` for each column, `missing KIND` for values that this phone does not show,
# `top CPUS KHZ` for the maximum frequency of CPUs, and `trip TYPE VALUE` for the temperature at which a zone begins to
# slow them down; then a line `sample VALUE...` for each sample; and, less often, `Name: value` lines of
# /proc/PID/status, as grep prints them, and lines of Android's services after `service NAME`, where this user may not
# read sysfs. Fields are separated by tabs; `-` is a value that could not be read.

tab='	'

offer() { # KIND FILE NAME...: adds a column if this user may read the file, and fails otherwise
  value=
  read -r value 2>/dev/null <"$2" || [ -n "$value" ] || return 1
  files="$files $2"
  kind=$1 && shift 2
  columns="$columns
column$tab$kind$tab$*"
}

lack() { # KIND: records that this phone does not show values of a kind
  columns="$columns
missing$tab$1"
}

serve() { # KIND SERVICE PATTERN: uses Android's service where this user may not read sysfs
  if dumpsys "$2" 2>/dev/null | grep -q "$3"; then services="$services $2"; else lack "$1"; fi
}

offer_all() { # KIND FILE...: adds a column for each readable file; fails when there is none
  kind=$1 found=
  shift
  for file; do
    name= of=${file%/*}
    case $kind in
      zone) read -r name 2>/dev/null <"$of/type" ;;
      frequency | cap | governor)
        case $of in
          */policy*) read -r name 2>/dev/null <"$of/related_cpus" ;;
          *) name=${of%/cpufreq} name=${name##*/cpu} ;;
        esac ;;
      *) name=${file##*/} ;;
    esac
    [ "$kind" = zone ] && of=${of##*/}$tab || of=
    offer "$kind" "$file" "$of$name" && found=1
  done
  [ "$found" ]
}

# PATH TAIL: sets $found to PATH0TAIL, PATH1TAIL ...; tries each number where this user may enter a folder but not list
# it. The same function stands in device/info/describe.sh, which is sent to the phone alone.
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

survey() { # sets $files, $columns and $services to the readable sources
  files= columns= services=
  cpu=/sys/devices/system/cpu
  battery=/sys/class/power_supply/battery
  numbered /sys/class/thermal/thermal_zone /temp
  offer_all zone $found || serve zone thermalservice 'Temperature{'
  # CPUs of a policy share a clock; where policies are not shown, each CPU shows its own.
  numbered "$cpu/cpufreq/policy" ""
  [ "$found" ] && policies=$cpu/cpufreq/policy freq= || policies=$cpu/cpu freq=/cpufreq
  for what in frequency:scaling_cur_freq cap:scaling_max_freq governor:scaling_governor; do
    numbered "$policies" "$freq/${what#*:}"
    offer_all "${what%:*}" $found || lack "${what%:*}"
  done
  offer_all online "$cpu/online" || lack online
  set -- "$battery/capacity" "$battery/status" "$battery/temp" "$battery/current_now" "$battery/voltage_now"
  offer_all battery "$@" || serve battery battery 'level:'
  fixed
}

fixed() { # adds the constant values to $columns
  numbered "$policies" "$freq/cpuinfo_max_freq"
  for file in $found; do
    value=
    read -r value 2>/dev/null <"$file" || continue
    of=${file%/*} name=
    case $of in
      */policy*) read -r name 2>/dev/null <"$of/related_cpus" ;;
      *) name=${of%/cpufreq} name=${name##*/cpu} ;;
    esac
    columns="$columns
top$tab$name$tab$value"
  done
  numbered /sys/class/thermal/thermal_zone ""
  for zone in $found; do
    name=
    read -r name 2>/dev/null <"$zone/type"
    for file in "$zone"/trip_point_[0-9]*_type; do
      value=
      read -r value 2>/dev/null <"$file"
      [ "$value" = passive ] && slows "$zone" "${file%_type}" || continue
      read -r value 2>/dev/null <"${file%_type}_temp" && columns="$columns
trip$tab$name$tab$value"
    done
  done
}

slows() { # ZONE TRIP: fails for a trip point at which the kernel slows down nothing
  policy= mode=
  read -r policy 2>/dev/null <"$1/policy"
  read -r mode 2>/dev/null <"$1/mode"
  # The governor user_space leaves it to a program, which has limits of its own.
  [ "$policy" != user_space ] && [ "$mode" != disabled ] || return 1
  # The other governors act on the cooling devices that are bound to a trip point; old kernels do not show which.
  set -- "$1" "${2##*_}" /sys/class/thermal/thermal_zone[0-9]*/cdev[0-9]*_trip_point
  [ -e "$3" ] || return 0
  for bound in "$1"/cdev[0-9]*_trip_point; do
    [ -e "$bound" ] || return 1
    at=
    read -r at 2>/dev/null <"$bound"
    [ "${at:-$2}" = "$2" ] && return 0
  done
  return 1
}

faults() { # PID: sets $faults to its major page faults: pages that it waited for from storage
  faults=
  read -r stat 2>/dev/null <"/proc/$1/stat" || return
  set -- ${stat##*) }
  faults=${10}
}

header() {
  say "column${tab}time${columns}
column${tab}available
column${tab}faults"
}

sample() { # PID: writes a sample of the time $now
  row=sample$tab$now
  for file in $files; do
    value=
    read -r value 2>/dev/null <"$file"
    row=$row$tab${value:--}
  done
  available=
  { read -r value && read -r value && read -r name available value; } 2>/dev/null </proc/meminfo
  [ "$name" = MemAvailable: ] || available=
  faults "$1"
  say "$row$tab${available:--}$tab${faults:--}"
  count=$((count + 1))
  # Reading threads and peaks takes a process, so it is done less often, and not in the first second, when the shell has
  # not yet become the command.
  case $count in [2-4] | *[05]) grep -H -E '^(Cpus_allowed_list|VmHWM|VmSwap):' "/proc/$1"/task/*/status 2>/dev/null ;; esac
  # The proportional set size is rarely read: the kernel walks all pages for it.
  case $count in 3 | *[05]0) grep -H -E '^Pss:' "/proc/$1/smaps_rollup" 2>/dev/null ;; esac
  last=$cost
  # Asking a service takes a process, and work in Android.
  case $count in 1 | *0) ask ;; esac
  own_cost
  started "$1" || cost=$last # a command that ended meanwhile adds its time to this runner's
  spend=$((cost - cost_before)) elapsed=$((now - began))
  if [ $((spend * 100)) -gt "$elapsed" ] && [ "$count" -gt 10 ]; then
    [ "$period" -lt 30 ] && period=$((period + 1))
  elif [ $((spend * 200)) -lt "$elapsed" ] && [ "$period" -gt 1 ]; then
    period=$((period - 1))
  fi
}

ask() { # prints the services' lines about temperatures and the battery, each service's after `service NAME`
  for service in $services; do
    say "service$tab$service"
    dumpsys "$service" 2>/dev/null |
      grep -E '^Current |Temperature\{|^ *(level|status|temperature|voltage|Battery current|current now) *: *-?[0-9]+'
  done
}

own_cost() { # sets $cost to the processor time of this runner and of the children it waited for, in 1/100 s
  read -r stat </proc/$$/stat
  set -- ${stat##*) }
  cost=$((${12} + ${13} + ${14} + ${15}))
}
