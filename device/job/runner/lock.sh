# The lock that lets one runner work at a time: a symbolic link, created atomically with its content, PID/START/BOOT/JOB.
# Process ids are reused, so the start time of the process and the phone's boot id are compared too.

boot=
read -r boot 2>/dev/null </proc/sys/kernel/random/boot_id
boot=${boot:-unknown}

started() { # PID: sets $ticks to the start time of the process; fails when it is gone
  ticks=
  read -r stat 2>/dev/null <"/proc/$1/stat" || return 1
  set -- ${stat##*) } # the name before the parenthesis may hold any character
  case $1 in Z | X) return 1 ;; esac
  ticks=${20}
}

holder() { # sets $holding_pid and $holding_job; fails when no living process holds the lock
  holding=$(readlink "$root/lock") || return 1
  holding_job=${holding##*/} holding_pid=${holding%%/*}
  rest=${holding#*/} && rest=${rest%/*}
  [ "${rest#*/}" = "$boot" ] && started "$holding_pid" && [ "$ticks" = "${rest%%/*}" ]
}

take_lock() { # fails when another process holds the lock
  # Anything else in its place, as a file system check can leave it, must not lock every runner out.
  [ -f "$root/lock.guard" ] || rm -rf "$root/lock.guard"
  # Of two runners that see the same stale lock, the second must not remove the new lock of the first.
  {
    flock 9 2>/dev/null
    holder && return 1
    started $$
    rm -rf "$root/lock"
    ln -s "$$/$ticks/$boot/$job" "$root/lock"
  } 9>>"$root/lock.guard"
  [ -f "$root.at-work" ] || rm -rf "$root.at-work"
  # Another user of the phone may be able to read files but not links, and cannot enter the folder: this file lies next
  # to it.
  (umask 022 && say "$$/$boot/$job" >"$root.at-work")
}

give_lock() { holder && [ "$holding_pid" = $$ ] && rm -f "$root.at-work" "$root/lock"; }

elsewhere() { # sets $holding_job; fails when no runner of another user of this phone is visible
  [ -d /system/bin ] || return 1 # only on phones: measurements on a workstation are tests
  # adb's shell sees the processes of all users.
  holding_job=$(ps -A -o args 2>/dev/null | grep '[r]unner\.sh work /' | grep -v " work $root ")
  holding_job=${holding_job##* }
  [ "$holding_job" ] && return
  # An app sees only its own processes, but can read the file that adb's shell wrote; for a living process of another
  # user, kill is not permitted.
  read -r holding 2>/dev/null </data/local/tmp/smoothdroid.at-work || return 1
  holding_job=${holding##*/} holding=${holding%/*}
  [ "${holding#*/}" = "$boot" ] || return 1
  case $(kill -0 "${holding%%/*}" 2>&1) in *ermitted*) return 0 ;; *) return 1 ;; esac
}
