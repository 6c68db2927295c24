# What the launchers beside this file share; they source it. Works with the Bash 3.2 of macOS.
# shellcheck shell=bash disable=SC2034

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() {   # MESSAGE: the user asked for something impossible
  echo "${0##*/}: $1 Try --help." >&2
  exit 2
}

modules='main benchmark'   # what a launcher starts, the first by default; one that starts others says so

# parse "OPTION ... FLAG! ..." ARGUMENT...: sets a variable for each option given (yes for a flag), $module, $dry_run
# and the array $args.
parse() {
  local known=" $1 " chosen='' option value
  shift
  module=${modules%% *} dry_run='' args=()
  while (($#)); do
    case $1 in
      --help) sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; exit 0 ;;
      --dry-run) dry_run=yes ;;
      --) shift; args=("$@"); return ;;
      --*)
        option=${1%%=*} option=${option#--}
        if [[ $known == *" $option! "* && $1 != *=* ]]; then
          printf -v "${option//-/_}" yes
          shift
          continue
        fi
        [[ $known == *" $option "* && $option != *" "* ]] ||
          fail "unknown option --$option; what jaxskill itself is to get goes after --."
        case $1 in
          *=*) value=${1#*=} ;;
          *) value=${2-}; [[ $value != --* ]] || value=''; (($# < 2)) || shift ;;
        esac
        [[ -n $value ]] || fail "--$option needs a value."
        printf -v "${option//-/_}" %s "$value" ;;
      *)
        [[ " $modules " == *" $1 "* && $1 == "${1%% *}" && -n $1 ]] ||
          fail "cannot run '$1': expected ${modules/ / or }; what jaxskill itself is to get goes after --."
        [[ -z $chosen ]] || fail "both $chosen and $1 are to be run; name one."
        module=$1 chosen=$1 ;;
    esac
    shift
  done
}

number() {   # OPTION VALUE: refuses what is not a positive whole number
  [[ $2 =~ ^[1-9][0-9]{0,8}$ ]] || fail "--$1=$2 is not a whole number above 0."
}

plain() {   # OPTION VALUE: refuses what another program could take for an option or for several words
  [[ $2 =~ ^[A-Za-z0-9_./~][A-Za-z0-9_./,@+-]*$ ]] || fail "--$1: '$2' is not a plain name."
}

quoted() {   # WORD...: one line that any POSIX shell reads back as these words
  local LC_ALL=C word space='' escaped="'\"'\"'"
  for word in "$@"; do
    if [[ $word =~ ^[A-Za-z0-9_@%+=:,./-]+$ ]]; then
      printf '%s%s' "$space" "$word"
    else
      word=${word//\'/$escaped}
      printf "%s'%s'" "$space" "$word"
    fi
    space=' '
  done
}

run() {   # WORD...: runs a command, or prints it in a dry run
  if [[ -n $dry_run ]]; then
    quoted "$@"
    echo
  else
    "$@"
  fi
}

command_line() {   # WORD...: what every host runs as one line; the words, if any, go before the interpreter
  quoted "$@" .venv/bin/python -m "jaxskill.$module" ${args[@]+"${args[@]}"}
}

alive=-oServerAliveInterval=30   # for ssh, which else waits for ever for a host that is gone
archive=build/jaxskill.tar.gz   # below $root; on the hosts it lands in the home

pack() {   # the checkout without what a host makes itself or has its own copy of
  run mkdir -p build
  run tar --exclude=./.git --exclude=./.venv --exclude=./build --exclude=./data --exclude=./runs -czf "$archive" .
}

unpack() {   # DIR: one line that unpacks the archive in a host's home and enters it
  echo "mkdir -p $1 && tar -xzf jaxskill.tar.gz -C $1 && cd $1"
}
