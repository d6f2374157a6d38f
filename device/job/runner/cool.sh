# Waits until no zone of the phone is above its limit. The limits are in each zone's own unit: the workstation knows the
# unit, and the range of plausible temperatures.

service_zones() { # prints a line `hal:NAME MILLIDEGREES` for each temperature of Android's service
  dumpsys thermalservice 2>/dev/null | sed -n -E '/^Current temperatures from HAL/,/^Current cooling/s/^.*\{mValue=([1-9][0-9]*)[.]?([0-9]*), mType=([0-59]|[1-9][0-9]), mName=([^, ]+),.*$/\4 \1 \2/p' |
    while read -r name whole part; do
      part=${part}000
      say "hal:$name $whole${part%"${part#???}"}"
    done
}

# Sets $zone, $heat and $kind to the zone farthest above its limit, and $odd when a value was not a temperature; fails
# when no zone is above its limit.
hottest() {
  zone= heat= above=0 kind= odd=
  case $(head -n 1 "$folder/cool") in hal:*) sensors=$(service_zones) ;; esac
  while read -r name limit lowest highest type; do
    value=
    case $name in
      hal:*) value=$(say "$sensors" | grep -F "$name ") value=${value##* } ;;
      *) read -r value 2>/dev/null <"/sys/class/thermal/$name/temp" ;;
    esac
    case $value in
      '' | - | ?*-* | *[!0-9-]*) continue ;;
      ?????????*) odd=1 && continue ;; # more digits than a shell can compute with
    esac
    if [ "$highest" ] && { [ "$value" -lt "$lowest" ] || [ "$value" -gt "$highest" ]; }; then
      odd=1
    elif [ $((value - limit)) -gt "$above" ]; then
      zone=$name heat=$value above=$((value - limit)) kind=$type
    fi
  done <"$folder/cool"
  [ -n "$zone" ]
}

cool_down() { # CELL ATTEMPT: waits, and writes `waited` to the journal: how long (1/100 s), and what was still too hot
  [ -s "$folder/cool" ] || return 0
  now
  since=$now
  # A single odd value does not end the wait; a zone with only odd values does not prolong it.
  while hottest || { [ "$odd" ] && [ $((now - since)) -lt 200 ]; } && [ $((now - since)) -lt $((cool_within_s * 100)) ]; do
    case $zone in hal:*) nap=5 ;; *) nap=1 ;; esac
    sleep "$nap" &
    started $! && now=$((ticks + nap * 100)) # the time when the sleep ends and the limits are checked again
    wait $!
  done
  now # the last second of the wait counts too
  tell waited "$1" "$2" $((now - since)) "${zone:--}" "${heat:--}" "${kind:--}"
}
