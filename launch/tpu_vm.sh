#!/usr/bin/env bash
# Sets up every host of a Cloud TPU VM or slice and starts jaxskill on all of them. Needs gcloud, and a TPU that exists.
#
#   launch/tpu_vm.sh --name NAME --zone ZONE [main|benchmark] [OPTIONS] -- ARGUMENTS OF jaxskill
#   launch/tpu_vm.sh --name my-tpu --zone us-east5-a -- --config configs/pros_cons.py --workdir runs/pros_cons
#
#   --name NAME     the TPU VM
#   --zone ZONE     where it is
#   --project ID    whose it is. Default: that of gcloud
#   --dir DIR       where the checkout goes on the hosts, below the home. Default: jaxskill
#   --python NAME   the interpreter, python3.11 to python3.14; if it cannot make an environment, its -venv package is
#                   installed with apt-get. Default: python3.11
#   --dry-run       print the commands, one a line, and run nothing
#
# The checkout goes to the hosts without data/ and runs/; put data there, and name its folder in the arguments.
# Checkpoints and results are written by the first host: --worker=0 is where to fetch them.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

name='' zone='' project='' dir=jaxskill python=python3.11
parse "name zone project dir python" "$@"
[[ -n $name ]] || fail "--name is missing: which TPU VM?"
[[ -n $zone ]] || fail "--zone is missing: where is $name?"
plain name "$name"
plain dir "$dir"
plain python "$python"

where=("--zone=$zone" ${project:+"--project=$project"} --worker=all)

on_all() {   # LINE: runs it in a shell on every host
  run gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" --command="$1"
}

venv="$python -m venv .venv"
package="sudo apt-get update && sudo DEBIAN_FRONTEND=noninteractive apt-get install -y $python-venv"

run cd "$root"
pack
run gcloud compute tpus tpu-vm scp "$archive" "$name:jaxskill.tar.gz" "${where[@]}"
on_all "$(unpack "$dir") && { $venv || { $package && $venv; }; } && .venv/bin/pip install -e '.[tpu]'"
on_all "cd $dir && $(command_line)"
