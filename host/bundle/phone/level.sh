#!/system/bin/sh
# Print the name of the best build in this folder that all CPUs of this phone can run, and the reason.
#
#   sh level.sh [CPUINFO]
#
# `levels`, next to this file, has a line for each build, the best first: its name, and the features of /proc/cpuinfo
# that it needs. A program may run on any core, so only features of all cores count.
case $0 in */*) here=${0%/*} ;; *) here=. ;; esac
cpuinfo=${1:-/proc/cpuinfo}

common='' cores=0
while IFS=' 	:' read -r key words; do # a space, a tab and a colon
  case $key in Features | flags) ;; *) continue ;; esac
  cores=$((cores + 1))
  if [ $cores = 1 ]; then
    common=" $words "
    continue
  fi
  kept=' '
  for word in $common; do
    case " $words " in *" $word "*) kept="$kept$word " ;; esac
  done
  common=$kept
done <"$cpuinfo"

lacks=''
while read -r name needs; do
  missing=''
  for word in $needs; do
    case $common in *" $word "*) ;; *) missing="$missing $word" ;; esac
  done
  if [ -z "$missing" ]; then
    echo "$name all cores have: $needs$lacks"
    exit 0
  fi
  lacks="$lacks; $name needs$missing"
done <"$here/levels"

if [ $cores = 0 ]; then
  echo "$cpuinfo does not list the features of this phone's CPUs" >&2
else
  echo "no build in this bundle runs on this phone${lacks}" >&2
fi
exit 1
