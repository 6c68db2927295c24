#!/usr/bin/env bash
# Sets up this machine, or others over ssh, and starts jaxskill on their GPUs.
#
#   launch/gpu.sh [main|benchmark] [OPTIONS] -- ARGUMENTS OF jaxskill
#   launch/gpu.sh -- --config configs/pros_cons.py --workdir runs/pros_cons
#   launch/gpu.sh --hosts gpu1,gpu2 benchmark -- --config configs/core.py
#
#   --hosts A,B     hosts to start on, one process each with all its GPUs; the first coordinates. Default: here
#   --port PORT     where the coordinator listens, open between the hosts. Default: 12355
#   --dir DIR       where the checkout goes on the hosts, below the home. Default: jaxskill
#   --python NAME   the interpreter, 3.11 to 3.14, with venv. Default: python3
#   --dry-run       print the commands, one a line, and run nothing
#
# The checkout goes to the hosts without data/ and runs/; put data there, and name its folder in the arguments.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

hosts='' port=12355 dir=jaxskill python=python3
parse "hosts port dir python" "$@"
number port "$port"
plain dir "$dir"
plain python "$python"
((port < 65536)) || fail "--port=$port is not a port: expected at most 65535."
[[ $hosts != *, ]] || fail "--hosts=$hosts ends with a comma."
IFS=, read -r -a host_list <<< "$hosts"
for host in ${host_list[@]+"${host_list[@]}"}; do
  plain hosts "$host"
done

run cd "$root"
if [[ -z $hosts ]]; then
  run "$python" -m venv .venv
  run .venv/bin/pip install -e '.[cuda]'
  run .venv/bin/python -m "jaxskill.$module" ${args[@]+"${args[@]}"}
  exit
fi

on_hosts() {   # FUNCTION: calls it with each host and its number, all at once; fails if one fails
  local id status=0 jobs=()
  for id in "${!host_list[@]}"; do
    if [[ -n $dry_run ]]; then
      "$1" "${host_list[id]}" "$id"
    else
      "$1" "${host_list[id]}" "$id" </dev/null &
      jobs+=($!)
    fi
  done
  for id in ${jobs[@]+"${jobs[@]}"}; do
    wait "$id" || status=$?
  done
  return "$status"
}

upload() { run scp "$archive" "$1:jaxskill.tar.gz"; }

install() {
  run ssh "$alive" "$1" "$(unpack "$dir") && $python -m venv .venv && .venv/bin/pip install -e '.[cuda]'"
}

start() {
  run ssh "$alive" "$1" "cd $dir && $(command_line env "JAX_COORDINATOR_ADDRESS=${host_list[0]#*@}:$port" \
    "JAX_NUM_PROCESSES=${#host_list[@]}" "JAX_PROCESS_ID=$2")"
}

pack
on_hosts upload
on_hosts install
on_hosts start
