# Runs a job on a phone without the workstation, which may lose the connection. It is POSIX sh, for the shells and tools
# of Android (mksh, toybox) and Termux; it needs no installation and no root.
#
#   sh runner.sh start ROOT JOB TOKEN          starts a runner on JOB; prints `running JOB` (JOB or another),
#                                              `damaged FILE...`, or `stopped`
#   sh runner.sh watch ROOT JOB SEEN WAIT_S    prints the journal from line SEEN + 1 on, once there is one
#   sh runner.sh state ROOT -                  `running JOB`, or `idle`
#   sh runner.sh zones ROOT -                  three readings of the thermal zones, a line `ZONE VALUE TYPE` for each
#   sh runner.sh stop ROOT JOB TOKEN           ends the runner of JOB and the cell that it measures; a `start` with
#                                              the same TOKEN that arrives late starts nothing
#   sh runner.sh remove ROOT JOB [WHEN]        removes JOB; with `idle`, prints `running JOB` when a runner works on it
#   sh runner.sh inspect ROOT JOB              the state of JOB, then its journal
#
# A job is a folder, ROOT/jobs/JOB:
#
#   cells        the cells in their order, a line `ID TIMEOUT_S` for each
#   commands.sh  executes the command of the cell that is its argument
#   limits       `cool_within_s N`, `output_kb N`
#   cool         the zones to wait for, a line `ZONE LIMIT LOWEST HIGHEST TYPE` for each, in the zone's own unit:
#                its limit, and the range of plausible temperatures; empty: do not wait
#   sum          the sha256 of these four, as sha256sum prints them; where they differ, no cell is started
#   journal      the events, one a line, each ending with ` #SUM .`. SUM is the beginning of the sha256
#                of `JOB EVENT`: a line that a kill cut, a power loss filled with zeros or a flash changed has another
#   halted       the TOKEN of the last `stop`
#   ID.N.stdout, ID.N.stderr, ID.N.samples     of the N-th attempt
#
# A job that is removed is called JOB.trash first, so that no part of one is ever seen under its name.
#
# Times are in 1/100 s since the phone started, and come from /proc/PID/stat of a process just started (proc(5),
# field 22): it costs no process of its own, apps may read it where /proc/uptime is denied, and it does not move
# when the clock is set.

here=${0%/*}
. "$here/lock.sh"
. "$here/sample.sh"
. "$here/cool.sh"

MOST_ATTEMPTS=3 # of a cell that kills the runner or crashes the phone each time
MOST_JOURNAL=33554432 # bytes; ten thousand cells write a tenth: a larger journal is damaged, and is not sent
PARTS='cells commands.sh limits cool'

umask 077
verb=$1 root=$2 job=$3
folder=$root/jobs/$job
pid= # of the command that is measured now

# Android's shell has no builtin printf and its echo interprets backslashes; other shells have no `print`.
case ${KSH_VERSION-} in
  *MIRBSD*) say() { print -r -- "$*"; } ;;
  *) say() { printf '%s\n' "$*"; } ;;
esac

fail() {
  say "$*" >&2
  exit 1
}

unwritable() { # WHAT
  fail "$1 cannot be written. Is the phone's storage full? Free some. Is it read-only? Restart the phone." \
    "Then run the same command again: finished cells are not measured again"
}

sign() { # EVENT: sets $sum
  sum=$(say "$job $*" | sha256sum)
  sum=${sum%"${sum#????????????????}"}
}

tell() { # EVENT...: appends a line to the journal, in one write
  latest=$1
  sign "$*"
  say "$* #$sum ." >>"$folder/journal" || unwritable "the journal $folder/journal"
}

events() { # PATTERN: prints the matching events of the journal, also those next to zeros or other damage
  LC_ALL=C grep -a -o "$1" "$folder/journal"
}

whole() { # fails when the job is not as the workstation wrote it, and sets $broken to the damaged files
  broken=
  right=$(cd "$folder" 2>/dev/null && sha256sum $PARTS 2>/dev/null | grep -x -F -f sum)
  for part in $PARTS; do
    case $right in *"  $part"*) ;; *) broken="$broken $part" ;; esac
  done
  [ -s "$folder/sum" ] || broken=' sum'
  [ ! -e "$folder/journal" ] || readable || broken="$broken journal"
  [ ! "$broken" ]
} 2>/dev/null

readable() { [ -f "$folder/journal" ] && [ "$(stat -c %s "$folder/journal")" -le "$MOST_JOURNAL" ]; }

halted() { [ "$token" ] && [ "$(cat "$folder/halted" 2>/dev/null)" = "$token" ]; }

now() { # sets $now to the time since the phone started, in 1/100 s
  sleep 9 &
  started $!
  now=$ticks
  kill -9 $!
  wait $! 2>/dev/null
}

keep() { # FILE...: writes files to flash, so that they survive a crash of the phone; the command's name differs
  fsync "$@" 2>/dev/null || sync "$@" 2>/dev/null || sync
}

# --- the verbs ------------------------------------------------------------------------------------------------

start() { # TOKEN
  if holder || elsewhere; then
    say "running $holding_job"
    return
  fi
  rm -rf "$root"/jobs/*.trash # left by an interrupted removal
  if halted; then
    say stopped
    return
  fi
  if ! whole; then
    say "damaged$broken"
    return
  fi
  true >>"$folder/journal" || unwritable "$folder"
  before=$(runners)
  # The token is not an argument: another user of the phone takes the last argument for the job.
  RUNNER_TOKEN=$token setsid sh "$0" work "$root" "$job" </dev/null >>"$folder/log" 2>&1 &
  worker=$!
  until holder || ! started "$worker"; do sleep 0.1; done
  if holder; then
    say "running $holding_job"
  elif halted; then
    say stopped
  elif [ "$(runners)" -gt "$before" ]; then # it has ended already: a short job, or a command that killed the runner
    say "running $job"
  elif ! whole; then
    say "damaged$broken"
  else
    free=$(df -k "$folder" | tail -n 1)
    fail "the runner did not start: $(tail -n 3 "$folder/log") (disk: $free)"
  fi
}

runners() { grep -c "^runner .* \.$" "$folder/journal"; } # prints how many runners have worked on this job

state() {
  if holder || elsewhere; then say "running $holding_job"; else say idle; fi
}

watch() { # SEEN WAIT_S: prints `at-work` or `ended`, then the new text of the journal, with a line that was cut
  # In 1/10 s. Each check takes processes, so the pauses grow: short cells are reported at once, long ones cost little.
  seen=$1 waits=$(($2 * 10)) pause=3
  if ! readable; then
    say gone
    return
  fi
  while :; do
    # The state is read before the journal: a runner writes the last line before it ends.
    word=ended
    holder && [ "$holding_job" = "$job" ] && word=at-work
    lines=$(wc -l <"$folder/journal")
    [ $((lines)) -gt "$seen" ] && break
    [ "$word" = ended ] && break
    [ "$waits" -le 0 ] && break
    sleep "$((pause / 10)).$((pause % 10))"
    waits=$((waits - pause))
    [ "$pause" -lt 12 ] && pause=$((pause * 2))
  done
  say "$word"
  tail -n "+$((seen + 1))" "$folder/journal"
}

zones() { # prints three readings, which distinguish a stuck sensor or one odd value from a hot zone
  numbered /sys/class/thermal/thermal_zone ""
  for pause in 1 1 ""; do
    shown=
    for zone in $found; do
      value= type=
      read -r value 2>/dev/null <"$zone/temp"
      read -r type 2>/dev/null <"$zone/type"
      [ "$value" ] && shown=1 && say "${zone##*/} $value $type"
    done
    [ "$shown" ] || service_zones
    [ "$pause" ] && sleep "$pause"
  done
  true
}

stop() { # TOKEN
  [ "$token" ] && [ -d "$folder" ] && say "$token" >"$folder/halted"
  if holder && [ "$holding_job" = "$job" ]; then
    kill "$holding_pid"
    patience=50
    while holder && [ "$((patience -= 1))" -gt 0 ]; do sleep 0.1; done
    holder && kill -9 "$holding_pid"
    end_orphan
  fi
}

remove() { # WHEN
  if [ "$token" = idle ]; then
    if holder && [ "$holding_job" = "$job" ]; then
      say "running $job"
      return
    fi
  else
    token=
    stop
  fi
  rm -rf "$folder.trash"
  if [ -e "$folder" ]; then
    mv "$folder" "$folder.trash" || fail "$folder cannot be removed. Is the phone's storage read-only? Restart the phone"
    rm -rf "$folder.trash" || : # the next start removes it
  fi
}

inspect() { # lines `kb N`, `idle SECONDS`, `outputs N`, `damaged FILE...`, `pin ID`, `cell ID`, `journal`; the journal
  size=$(du -s -k "$folder")
  say "kb ${size%%[!0-9]*}"
  last=$folder/journal
  [ -e "$last" ] || last=$folder
  say "idle $(($(date +%s) - $(stat -c %Y "$last")))"
  say "outputs $(ls "$folder" | grep -c '\.stdout$')"
  whole || say "damaged$broken"
  grep -a -o '/store/[0-9a-f]\{16\}' "$folder/commands.sh" 2>/dev/null | sort -u | sed 's,^/store/,pin ,'
  sed -n 's/^\([A-Za-z0-9-]*\) .*/cell \1/p' "$folder/cells" 2>/dev/null
  say journal
  watch 0 0 | tail -n +2
}

cell() { # CELL ATTEMPT: becomes the command that is measured
  started $$
  say "$$ $ticks $boot" >"$root/measured" || exit 125
  # In units of 512 bytes: a command with endless output must not fill the phone.
  ulimit -f "$((output_kb * 2))"
  unset RUNNER_TOKEN
  . "$folder/commands.sh"
}

work() {
  take_lock || exit 1
  trap quit EXIT
  trap 'exit 143' HUP INT TERM
  if halted; then
    trap - EXIT
    give_lock
    return
  fi
  # A line that a kill cut short, or zeros that a power loss left, get a line end, so that they stay apart from the
  # next event.
  lost=
  if [ -s "$folder/journal" ]; then
    [ "$(tail -c 1 "$folder/journal" | wc -l)" -gt 0 ] || echo >>"$folder/journal"
  else
    for file in "$folder"/*.samples; do [ -e "$file" ] && lost=1; done
  fi
  tell runner $$ "$boot" "$(date +%s)"
  [ "$lost" ] && tell lost
  end_orphan
  wake_lock lock
  survey
  check
  set -- $(cat "$folder/cells")
  while [ $# -gt 0 ]; do
    is_ended "$1" || measure "$1" "$2"
    shift 2
  done
  trap - EXIT
  keep "$folder/journal"
  wake_lock unlock
  # The last event comes after the lock is released: a reader of it may start the next job.
  give_lock
  tell finished
}

quit() {
  if [ "$pid" ]; then
    kill -9 "-$pid" "$pid" 2>/dev/null
    tell stopped "$measured"
  fi
  wake_lock unlock
  give_lock
}

wake_lock() { # lock|unlock: takes or releases Termux's wake lock; the app may not answer
  command -v "termux-wake-$1" >/dev/null && timeout 10 "termux-wake-$1"
}

# --- one cell ---------------------------------------------------------------------------------------------------

check() { whole || fail "damaged:$broken"; }

is_ended() { # CELL
  # The journal may be damaged: only events with a valid sum count.
  [ "$(events "end $1 [0-9]* [0-9]* [a-z]* [0-9]* -*[0-9]* [-0-9a-f]* #[0-9a-f]\{16\}" | while read -r event; do
    sign "${event% #*}"
    [ "$sum" = "${event##*#}" ] && say ended
  done)" ]
}

end_orphan() { # kills the command of a killed runner, which would disturb the next measurement
  [ -e "$root/measured" ] || return 0
  read -r orphan when on <"$root/measured"
  if [ "$on" = "$boot" ] && started "$orphan" && [ "$ticks" = "$when" ]; then
    kill -9 "-$orphan"
  fi
  rm -rf "$root/measured"
}

measure() { # CELL TIMEOUT_S
  check
  attempts=$(events "begin $1 [0-9]" | wc -l)
  stopped=$(events "stopped $1 #" | wc -l) # on request, which does not count against the cell
  if [ $((attempts - stopped)) -ge "$MOST_ATTEMPTS" ]; then
    tell end "$1" "$attempts" 137 abandoned 0 0 -
    keep "$folder/journal"
    return
  fi
  measured=$1 attempt=$((attempts + 1)) latest=-
  cool_down "$1" "$attempt"
  output=$folder/$1.$attempt
  rm -rf "$output.stdout" "$output.stderr" "$output.samples"
  { header >"$output.samples" && true >"$output.stdout"; } || unwritable "$output.*"
  # The event says whether there was a wait, so that a lost line about it is noticed; it is written to flash, so that a
  # cell that crashes the phone is counted.
  tell begin "$1" "$attempt" "$(date +%s)" "$latest"
  keep "$folder/journal"
  # The command has a session of its own, so that its children end with it.
  trap : CHLD # wakes the wait between two samples when the command ends
  setsid sh "$0" cell "$root" "$job" "$1" </dev/null >"$output.stdout" 2>"$output.stderr" &
  pid=$! how=exited period=1 count=0
  started "$pid"
  began=${ticks:-0}
  own_cost
  cost_before=$cost
  while started "$pid"; do
    sleep "$period" &
    clock=$!
    started "$clock" && now=$ticks
    if [ $((now - began)) -ge $(($2 * 100)) ]; then
      how=timeout
      kill -9 "-$pid" "$pid" 2>/dev/null
    else
      sample "$pid" >>"$output.samples"
    fi
    started "$pid" && wait "$clock" # a command that ended before the wait would not wake it
  done
  trap - CHLD
  kill -9 "$clock" 2>/dev/null
  wait "$pid"
  status=$?
  kill -9 "-$pid" 2>/dev/null # children that it left behind
  pid=
  rm -rf "$root/measured"
  now
  keep "$output.stdout" "$output.stderr" "$output.samples"
  sum=$(cat "$output.stdout" "$output.stderr" "$output.samples" | sha256sum)
  tell end "$1" "$attempt" "$status" "$how" $((now - began)) $((cost - cost_before)) "${sum%% *}"
  keep "$folder/journal"
}

while read -r name value; do
  case $name in cool_within_s) cool_within_s=$value ;; output_kb) output_kb=$value ;; esac
done 2>/dev/null <"$folder/limits"
shift 3
token=${1-${RUNNER_TOKEN-}}
"$verb" "$@"
