# Waiting until the phone is as cool as asked. The limits are in each zone's own unit: the host knows what it is.

hottest() { # -> $zone, $heat: the zone farthest above its limit; fails when none is above
  zone= heat= above=0
  while read -r name limit; do
    value=
    read -r value 2>/dev/null <"/sys/class/thermal/$name/temp"
    case $value in '' | - | *[!0-9-]*) continue ;; esac
    if [ $((value - limit)) -gt "$above" ]; then
      zone=$name heat=$value above=$((value - limit))
    fi
  done <"$folder/cool"
  [ -n "$zone" ]
}

cool_down() { # CELL ATTEMPT: `waited` in the journal: for how long (1/100 s), and what was still too hot
  [ -s "$folder/cool" ] || return 0
  now
  since=$now
  while hottest && [ $((now - since)) -lt $((cool_within_s * 100)) ]; do
    sleep 1 &
    started $! && now=$ticks
    wait $!
  done
  tell waited "$1" "$2" $((now - since)) "${zone:--}" "${heat:--}"
}
