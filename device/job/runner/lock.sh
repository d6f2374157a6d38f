# One runner at a time. The lock is a symbolic link, made in one step with its content: PID/START/BOOT/JOB. A process
# number is used again, so the time of the process's start and the phone's boot are compared too.

boot=
read -r boot 2>/dev/null </proc/sys/kernel/random/boot_id
boot=${boot:-unknown}

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
  # Something else in its place, as a file system's check may leave it, must not keep everybody out.
  [ -f "$root/lock.guard" ] || rm -rf "$root/lock.guard"
  # Two that find the same stale lock must not both remove it, the second one the first one's new lock.
  {
    flock 9 2>/dev/null
    holder && return 1
    started $$
    rm -rf "$root/lock"
    ln -s "$$/$ticks/$boot/$job" "$root/lock"
  } 9>>"$root/lock.guard"
  [ -f "$root.at-work" ] || rm -rf "$root.at-work"
  # For another user of the phone, who may read files, and perhaps not links. Beside the folder, which is closed to him.
  (umask 022 && say "$$/$boot/$job" >"$root.at-work")
}

give_lock() { holder && [ "$holding_pid" = $$ ] && rm -f "$root.at-work" "$root/lock"; }

elsewhere() { # -> $holding_job; fails when no other user of this phone has a runner at work, as far as this one sees
  [ -d /system/bin ] || return 1 # a phone is measured by one at a time, a workstation is not measured
  # adb's shell sees everybody's processes.
  holding_job=$(ps -A -o args 2>/dev/null | grep '[r]unner\.sh work /' | grep -v " work $root ")
  holding_job=${holding_job##* }
  [ "$holding_job" ] && return
  # An app sees its own ones, but may read what adb's shell wrote; the kernel tells it from a process that is gone.
  read -r holding 2>/dev/null </data/local/tmp/smoothdroid.at-work || return 1
  holding_job=${holding##*/} holding=${holding%/*}
  [ "${holding#*/}" = "$boot" ] || return 1
  case $(kill -0 "${holding%%/*}" 2>&1) in *ermitted*) return 0 ;; *) return 1 ;; esac
}
