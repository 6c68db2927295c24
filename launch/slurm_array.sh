#!/usr/bin/env bash
# Sets up the checkout, on the disk that the nodes share, and submits an array of SLURM jobs, each on one node: a model
# for each fold and seed, or the shards of an extraction.
#
#   launch/slurm_array.sh [main|extract] [OPTIONS] -- ARGUMENTS OF jaxskill
#   launch/slurm_array.sh --folds 4 --seeds 5 --workdir runs/array -- --config configs/core.py:features \
#     --config.data.dir=MY_FEATURES
#   launch/slurm_array.sh extract --shards 16 --gpus 0 --cpus 8 --extras video,pose -- \
#     --config configs/features/pose.py --videos MY_VIDEOS --out MY_FEATURES --weights NETWORKS
#
#   --folds N         tasks for the folds 0 to N-1 of the data. Default: each task trains all folds
#   --seeds N         tasks for the seeds 0 to N-1. Default: each task trains the seeds of the config
#   --workdir DIR     of the array; each task has its own below it: DIR/fold0_seed0, DIR/fold0, DIR/seed0
#   --shards N        tasks for the shards 0/N to N-1/N of an extraction
#   --at-once N       how many tasks run at the same time. Default: as many as there is room for
#   --gpus N          GPUs of a task, and so processes of a training; 0 takes none. Default: 1
#   --cpus N          cores of each process, on which films are decoded. Default: that of the cluster
#   --time LIMIT      as sbatch takes it
#   --grace SECONDS   how long before the limit a task is told to save. Default: 120
#   --partition NAME  as sbatch takes it
#   --account NAME    as sbatch takes it
#   --extras LIST     what to install of jaxskill. Default: cuda
#   --python NAME     the interpreter, 3.11 to 3.14, with venv. Default: python3
#   --dry-run         print the commands, one a line, and run nothing
#
# Task I trains fold I / SEEDS (rounded down) with seed I % SEEDS, or extracts shard I/SHARDS. A task that is preempted,
# or that reaches the time limit, saves, is queued again and goes on; a task that fails is not.
# All trained? python -m jaxskill.collect DIR/* makes one table of them.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

modules='main extract'
folds='' seeds='' workdir='' shards='' at_once='' gpus=1 cpus='' time='' grace=120 partition='' account='' extras=cuda
python=python3
parse "folds seeds workdir shards at-once gpus cpus time grace partition account extras python" "$@"
for option in folds seeds shards at_once cpus grace; do
  [[ -z ${!option} ]] || number "${option/_/-}" "${!option}"
done
[[ $gpus == 0 ]] || number gpus "$gpus"
plain extras "$extras"
plain python "$python"
if [[ $module == extract ]]; then
  [[ -n $shards ]] || fail "--shards is missing: into how many parts is the extraction to be cut?"
  [[ -z $folds$seeds$workdir ]] || fail "--folds, --seeds and --workdir are for main; an extraction has --shards."
  tasks=$shards mine=shard processes=1
else
  [[ -z $shards ]] || fail "--shards is for extract; main has --folds and --seeds."
  [[ -n $folds$seeds ]] || fail "--folds or --seeds is missing: what is each task to train?"
  [[ -n $workdir ]] || fail "--workdir is missing: where are the tasks to write?"
  tasks=$((${folds:-1} * ${seeds:-1})) mine=workdir processes=$((gpus > 0 ? gpus : 1))
fi
for word in ${args[@]+"${args[@]}"}; do
  [[ ${word%%=*} != "--$mine" ]] || fail "each task has a --$mine of its own; leave it out after --."
done

layout=(--nodes=1 "--ntasks-per-node=$processes")
((gpus == 0)) || layout+=("--gpus-per-node=$gpus")
[[ -z $cpus ]] || layout+=("--cpus-per-task=$cpus")     # srun does not take it from the job

run cd "$root"
if [[ -z ${SLURM_ARRAY_TASK_ID-} ]]; then
  again=(launch/slurm_array.sh "$module" "--gpus=$gpus")
  for option in folds seeds workdir shards cpus; do
    [[ -z ${!option} ]] || again+=("--$option=${!option}")
  done
  run "$python" -m venv .venv
  run .venv/bin/pip install -e ".[$extras]"
  # The batch script alone gets USR1, and tells the step: srun would kill it when told to end itself.
  run sbatch "--job-name=jaxskill-$module" "--array=0-$((tasks - 1))${at_once:+%$at_once}" "${layout[@]}" --requeue \
    --open-mode=append "--signal=B:USR1@$grace" ${time:+"--time=$time"} ${partition:+"--partition=$partition"} \
    ${account:+"--account=$account"} --wrap="exec $(quoted "${again[@]}" -- ${args[@]+"${args[@]}"})"
  exit
fi

index=$SLURM_ARRAY_TASK_ID
if [[ $module == extract ]]; then
  args+=("--shard=$index/$shards")
else
  place=''
  if [[ -n $folds ]]; then
    args+=("--config.folds=($((index / ${seeds:-1})),)") place=fold$((index / ${seeds:-1}))
  fi
  if [[ -n $seeds ]]; then
    args+=("--config.seeds=($((index % seeds)),)") place+=${place:+_}seed$((index % seeds))
  fi
  args+=("--workdir=$workdir/$place")
fi
step=(srun "${layout[@]}" env "JAX_NUM_PROCESSES=$processes" .venv/bin/python -m "jaxskill.$module" "${args[@]}")
if [[ -n $dry_run ]]; then
  run "${step[@]}"
  exit
fi
told='' woken=yes
trap 'told=yes woken=yes; scancel --signal=TERM "$SLURM_JOB_ID" || :' USR1     # a step may just have ended
"${step[@]}" &
while [[ -n $woken ]]; do   # a signal ends a wait before its time
  woken='' status=0
  wait $! || status=$?
done
# A step that ends by SIGTERM alone was preempted with a grace time, and SLURM would take its end for that of the job.
if [[ -n $told && $status != 0 || $status == 143 ]]; then
  scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" || :
fi
exit "$status"
