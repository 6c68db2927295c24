#!/usr/bin/env bash
# Sets up every host of a Cloud TPU VM or slice and starts jaxskill on all of them. Needs gcloud. Takes a TPU that is
# there or, with --type, asks for one by a queued resource, waits until it is ACTIVE, and asks again when it is lost.
#
#   launch/tpu_vm.sh --name NAME --zone ZONE [main|benchmark] [OPTIONS] -- ARGUMENTS OF jaxskill
#   launch/tpu_vm.sh --name my-tpu --zone us-east5-a -- --config configs/pros_cons.py --workdir runs/pros_cons
#   launch/tpu_vm.sh --name my-tpu --zone us-east5-a --type v6e-16 --runtime v2-alpha-tpuv6e --spot --extras tpu,gcs \
#     -- --config configs/pros_cons.py --workdir gs://BUCKET/pros_cons
#
#   --name NAME     the TPU VM; with --type also the queued resource, which has this TPU VM alone
#   --zone ZONE     where it is
#   --project ID    whose it is. Default: that of gcloud
#   --type TYPE     accelerator type of a slice to ask for, e.g. v6e-16. Default: none, the TPU VM exists
#   --runtime NAME  software of its hosts, e.g. v2-alpha-tpuv6e; --type needs it
#   --spot          ask for Spot capacity, which may be taken away at any time
#   --wait SECONDS  how long the slice may take until it is ACTIVE; then the request stays queued, and the same command
#                   waits on. Default: 86400
#   --poll SECONDS  from one look at its state to the next. Default: 30
#   --restarts N    how often a slice that was taken away is asked for again, 0 for never. Default: 10
#   --extras LIST   what to install of jaxskill. Default: tpu
#   --dir DIR       where the checkout goes on the hosts, below the home. Default: jaxskill
#   --python NAME   the interpreter, python3.11 to python3.14; if it cannot make an environment, its -venv package is
#                   installed with apt-get. Default: python3.11
#   --dry-run       print the commands, one a line, and run nothing; HOSTS is their number, which gcloud knows
#
# The checkout goes to the hosts without data/ and runs/; put data there, and name its folder in the arguments.
# Checkpoints and results are written by the first host: --worker=0 is where to fetch them. A slice that was taken away
# takes its disks along: --workdir gs://... survives, and a restart goes on from there. A slice that was made stays, and
# costs, until it is deleted; the command for that is printed at the end.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

name='' zone='' project='' type='' runtime='' spot='' wait=86400 poll=30 restarts=10 extras=tpu dir=jaxskill
python=python3.11
parse "name zone project type runtime spot! wait poll restarts extras dir python" "$@"
[[ -n $name ]] || fail "--name is missing: which TPU VM?"
[[ -n $zone ]] || fail "--zone is missing: where is $name?"
[[ -z $type || -n $runtime ]] || fail "--runtime is missing: which software is a $type to have?"
[[ -n $type || -z $runtime$spot ]] || fail "--runtime and --spot are for a slice that is made: --type is missing."
for option in name type runtime extras dir python; do
  [[ -z ${!option} ]] || plain "$option" "${!option}"
done
for option in wait poll restarts; do
  [[ $option${!option} == restarts0 ]] || number "$option" "${!option}"
done

where=("--zone=$zone" ${project:+"--project=$project"})
queued=(gcloud compute tpus queued-resources)
vm=(gcloud compute tpus tpu-vm)

say() { echo "${0##*/}: $*" >&2; }

ask() {   # VALUE: prints what gcloud says of the queued resource, without its remarks; MISSING if there is none
  local said
  if said=$("${queued[@]}" describe "$name" "${where[@]}" "--format=value($1)" 2>&1 >&3); then
    return
  elif [[ $said == *NOT_FOUND* ]]; then
    echo MISSING
  else
    echo "$said" >&2
    return 1
  fi
} 3>&1

state() { ask state.state; }

create() {
  run "${queued[@]}" create "$name" "${where[@]}" "--node-id=$name" "--accelerator-type=$type" \
    "--runtime-version=$runtime" ${spot:+--spot}
}

discard() {   # STATE: deletes what is left of a slice that was lost, if nothing else was asked for by this name
  local asked
  asked=$(ask 'tpu.nodeSpec.len(),tpu.nodeSpec[0].nodeId,tpu.nodeSpec[0].node.acceleratorType')
  if [[ $asked != "1"$'\t'"$name"$'\t'"$type" ]]; then
    say "$name is $1, but asks for something else than one $type of this name ($asked), and so is left alone;" \
      "give another --name, or delete it yourself."
    exit 1
  fi
  run "${queued[@]}" delete "$name" "${where[@]}" --force --quiet
}

obtain() {   # returns when the slice is ACTIVE; makes it if need be
  local now before='' asked='' waited
  for ((waited = 0; waited <= wait; waited += poll)); do
    now=$(state) || { [[ -n $before ]] || exit 1; now=UNKNOWN; }       # a network that fails once in a day ends nothing
    case $now in
      ACTIVE) return ;;
      MISSING)
        create
        asked=yes ;;
      FAILED | SUSPENDED)
        if [[ $now$asked == FAILEDyes ]]; then
          say "the request for $name FAILED; why, says: $(quoted "${queued[@]}" describe "$name" "${where[@]}")"
          exit 1
        fi
        discard "$now" ;;
    esac
    [[ $now == "$before" ]] || say "$name is $now"
    before=$now
    sleep "$poll"
  done
  say "$name is not ACTIVE after $wait seconds, but $now; it stays queued, and the same command waits on."
  exit 1
}

lost() {   # whether gcloud says, which may be a minute late, that the slice is going or gone; else the run may live on
  local waited
  for ((waited = 0; waited <= 60; waited += poll)); do
    case $(state) in
      SUSPENDING | SUSPENDED | FAILED | DELETING | MISSING) return 0 ;;
    esac
    sleep "$poll"
  done
  return 1
}

on_all() {   # LINE: runs it in a shell on every host
  run "${vm[@]}" ssh "$name" "${where[@]}" --worker=all "--ssh-flag=$alive" --command="$1"
}

count() {   # sets $hosts to their number: a host that sees fewer does not start, and none trains alone
  local ask=("${vm[@]}" describe "$name" "${where[@]}" '--format=value(networkEndpoints.len())')
  hosts=HOSTS
  [[ -z $dry_run ]] || { run "${ask[@]}"; return; }
  hosts=$("${ask[@]}") || return
  [[ $hosts =~ ^[1-9][0-9]*$ ]] || { say "gcloud does not say how many hosts $name has, but '$hosts'"; hosts=''; }
}

venv="$python -m venv .venv"
package="sudo apt-get update && sudo DEBIAN_FRONTEND=noninteractive apt-get install -y $python-venv"

attempt() {
  count &&
    run "${vm[@]}" scp "$archive" "$name:jaxskill.tar.gz" "${where[@]}" --worker=all &&
    on_all "$(unpack "$dir") && { $venv || { $package && $venv; }; } && .venv/bin/pip install -e '.[$extras]'" &&
    on_all "cd $dir && $(command_line ${hosts:+env "JAX_NUM_PROCESSES=$hosts"})"
}

run cd "$root"
pack
if [[ -n $dry_run ]]; then
  [[ -z $type ]] || create
  attempt
  exit
fi
[[ -z $type ]] ||
  trap 'say "$name stays until: $(quoted "${queued[@]}" delete "$name" "${where[@]}" --force)"' EXIT
for ((restart = 0; ; restart++)); do
  [[ -z $type ]] || obtain
  status=0
  attempt || status=$?
  # The status does not tell: with 2 end mistakes in the arguments, and hosts that have lost another one.
  [[ -n $type && $status != 0 ]] && lost || exit "$status"
  ((restart < restarts)) || { say "$name was taken away once more; the same command goes on."; exit "$status"; }
  say "$name was taken away; restart $((restart + 1)) of $restarts"
done
