#!/usr/bin/env bash
# Sets up the checkout, on the disk that the nodes share, and starts jaxskill as a SLURM job, one process a GPU.
# Inside an allocation (salloc, sbatch) it starts there at once; elsewhere it submits a job.
#
#   launch/slurm.sh [main|benchmark] [OPTIONS] -- ARGUMENTS OF jaxskill
#   launch/slurm.sh --nodes 2 --gpus 8 --time 2:00:00 -- --config configs/pros_cons.py --workdir runs/pros_cons
#
#   --nodes N         how many nodes. Default: 1
#   --gpus N          GPUs, and so processes, on each node. Default: 1
#   --time LIMIT      as sbatch takes it
#   --partition NAME  as sbatch takes it
#   --account NAME    as sbatch takes it
#   --python NAME     the interpreter, 3.11 to 3.14, with venv. Default: python3
#   --dry-run         print the commands, one a line, and run nothing

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

nodes=1 gpus=1 time='' partition='' account='' python=python3
parse "nodes gpus time partition account python" "$@"
number nodes "$nodes"
number gpus "$gpus"
plain python "$python"

# A process sees all GPUs of its node and takes the one with its local number: what jax.distributed does under SLURM.
layout=("--nodes=$nodes" "--ntasks-per-node=$gpus" "--gpus-per-node=$gpus")
together=(env "JAX_NUM_PROCESSES=$((nodes * gpus))")   # a process that sees fewer does not start

run cd "$root"
run "$python" -m venv .venv
run .venv/bin/pip install -e '.[cuda]'
if [[ -n ${SLURM_JOB_ID-} ]]; then
  run srun "${layout[@]}" "${together[@]}" .venv/bin/python -m "jaxskill.$module" ${args[@]+"${args[@]}"}
else
  run sbatch "--job-name=jaxskill-$module" "${layout[@]}" ${time:+"--time=$time"} \
    ${partition:+"--partition=$partition"} ${account:+"--account=$account"} \
    --wrap="$(command_line srun "${together[@]}")"
fi
