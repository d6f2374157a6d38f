#!/system/bin/sh
# One prompt to a model of this bundle, on this phone. /system/bin/sh is on every Android; /bin/sh is not.
case $0 in */*) here=${0%/*} ;; *) here=. ;; esac
here=$(cd "$here" >/dev/null && pwd) || exit 2

usage() {
  cat <<END
./run.sh [OPTIONS] "PROMPT"

  -m, --model FILE    the model (default: $default)
  -t, --threads N     default: as many as this phone has big and mid cores
  -n, --tokens N      longest answer (default: $tokens)
      --temp X        temperature; 0: always the most likely token (default: $temp)
      --seed N        seed of the random choice of tokens (default: $seed)
      --raw           continue the text as it is, without the model's chat template
      --level NAME    the build (default: the best that this phone runs, of: $(names))
  -q, --quiet         print only the answer
  -h, --help
END
}

names() {
  separator=''
  while read -r name _; do
    printf '%s%s' "$separator" "$name"
    separator=', '
  done <"$here/bin/levels"
}

die() {
  printf 'run.sh: %s\n' "$*" >&2
  exit 2
}

say() {
  [ -n "$quiet" ] || printf '%s\n' "· $*" >&2
}

number() {
  case $2 in '' | *[!0-9]* | 0*) die "$1 $2: must be a number of at least 1" ;; esac
}

default=''
[ -r "$here/models/default" ] && IFS= read -r default <"$here/models/default"
[ -n "$default" ] && default=$here/models/$default
model=$default threads='' tokens=128 temp=0.8 seed=0 template=--single-turn level='' quiet=''

while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage && exit 0 ;;
    -q | --quiet) quiet=yes && shift && continue ;;
    --raw) template=-no-cnv && shift && continue ;;
    --) shift && break ;;
    -m | --model | -t | --threads | -n | --tokens | --temp | --seed | --level)
      [ $# -gt 1 ] || die "$1: needs a value"
      ;;
    -?*) die "unknown option $1; ./run.sh --help lists the options. Put -- before a prompt that begins with -" ;;
    *) break ;;
  esac
  case $1 in
    -m | --model) model=$2 ;;
    -t | --threads) number "$1" "$2" && threads=$2 ;;
    -n | --tokens) number "$1" "$2" && tokens=$2 ;;
    --temp) temp=$2 ;;
    --seed) seed=$2 ;;
    --level) level=$2 ;;
  esac
  shift 2
done
prompt=$*
[ -n "$prompt" ] || {
  usage >&2
  exit 2
}
[ -n "$model" ] || die "this bundle contains no model: name a .gguf file with -m"
[ -r "$model" ] || die "the model $model does not exist"

why='as requested'
if [ -z "$level" ]; then
  chosen=$(sh "$here/bin/level.sh") || exit 1
  level=${chosen%% *} why=${chosen#* }
fi
tool=$here/bin/$level/llama-completion
[ -e "$tool" ] || die "unknown build $level; this bundle contains $(names)"
# This is also false on shared storage, from which Android runs no programs.
[ -x "$tool" ] || die "$tool cannot be executed: unpack the bundle in Termux's home (cd; tar ...), not on /sdcard"
say "build $level: $why"

why='as requested'
if [ -z "$threads" ]; then
  chosen=$(sh "$here/bin/threads.sh") || exit 1
  threads=${chosen%% *} why=${chosen#* }
fi
say "threads $threads: $why"
say "model ${model##*/}"

# Libraries are next to the tools: llama.cpp looks for its kernels in the folder of the executable. The variable is
# set for this one command only, because Termux's own programs would load the wrong libraries.
libraries=$here/bin/$level${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
# The maximum number of tokens of the prompt (each is at least a byte), its answer, and the chat template around it.
# It is not the model's maximum, which may need more memory than the phone has.
context=$(($(printf %s "$prompt" | wc -c) + tokens + @TEMPLATE_TOKENS@))
log=$here
if [ -n "$TMPDIR" ] && [ -w "$TMPDIR" ]; then log=$TMPDIR; fi
log=$log/smoothdroid-run.$$
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# llama.cpp also reads options from the environment. A word of a value that is not a name would end the shell.
set -f
for name in $(export -p); do
  name=${name%%=*}
  case $name in
    *[!A-Za-z0-9_]*) ;;
    LLAMA_* | GGML_*) unset "$name" ;;
  esac
done

LD_LIBRARY_PATH=$libraries "$tool" -m "$model" -p "$prompt" -n "$tokens" -t "$threads" --temp "$temp" --seed "$seed" \
  --no-display-prompt --perf --no-escape --ctx-size "$context" "$template" </dev/null 2>"$log"
status=$?
echo
case $status in
  0)
    speed=$(sed -n -e 's/.*_print: prompt eval time = .*, *\([0-9.]*\) tokens per second.*/prefill \1 tokens\/s,/p' \
      -e 's/.*_print:  *eval time = .*, *\([0-9.]*\) tokens per second.*/decode \1 tokens\/s/p' "$log")
    say $speed # unquoted: two lines become one
    ;;
  132) why='the CPU does not support an instruction of this build. Try another build: --level' ;;
  137) why='killed, usually by Android for the memory that it used. Close other apps, or use a smaller model' ;;
  *) why="it ended with status $status" ;;
esac
[ $status = 0 ] && exit 0
tail -n 8 "$log" >&2
printf 'run.sh: %s\n' "$why" >&2
exit 1
