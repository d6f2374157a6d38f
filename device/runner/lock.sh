# One runner at a time. The lock is a symbolic link, made in one step with its content: PID/START/BOOT/JOB. A process
# number is used again, so the time of the process's start and the phone's boot are compared too.

read -r boot </proc/sys/kernel/random/boot_id

started() { # PID -> $ticks, when that process started; fails when it is gone
  ticks=
  read -r stat 2>/dev/null <"/proc/$1/stat" || return 1
  set -- ${stat##*) } # the name before it may hold anything
  case $1 in Z | X) return 1 ;; esac
  ticks=${20}
}

holder() { # -> $holding_pid, $holding_job; fails when nobody alive holds the lock
  holding=$(readlink "$root/lock") || return 1
  holding_job=${holding##*/} holding_pid=${holding%%/*}
  rest=${holding#*/} && rest=${rest%/*}
  [ "${rest#*/}" = "$boot" ] && started "$holding_pid" && [ "$ticks" = "${rest%%/*}" ]
}

take_lock() { # fails when somebody else holds it
  # Two that find the same stale lock must not both remove it, the second one the first one's new lock.
  {
    flock 9 2>/dev/null
    holder && return 1
    started $$
    rm -f "$root/lock"
    ln -s "$$/$ticks/$boot/$job" "$root/lock"
  } 9>>"$root/lock.guard"
}

give_lock() { holder && [ "$holding_pid" = $$ ] && rm -f "$root/lock"; }
