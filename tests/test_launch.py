"""The launchers print the commands that a reader of their help expects, and every host gets its arguments unharmed."""
import os
import shlex
import shutil
import subprocess

import pytest

from tests.places import REPO

LAUNCH = REPO / "launch"
SCRIPTS = ["gpu.sh", "slurm.sh", "slurm_array.sh", "tpu_vm.sh"]
ODD = ["--config", "configs/core.py", "--config.note=it's a \"test\"", "$HOME", "a;b", "*", "", "two\nlines", "é\\n"]
PACK = [["mkdir", "-p", "build"], ["tar", "--exclude=./.git", "--exclude=./.venv", "--exclude=./build",
                                   "--exclude=./data", "--exclude=./runs", "-czf", "build/jaxskill.tar.gz", "."]]
ALIVE = "-oServerAliveInterval=30"
UNPACK = "mkdir -p jaxskill && tar -xzf jaxskill.tar.gz -C jaxskill && cd jaxskill && "


def launch(script, *arguments, folder=LAUNCH, **environment):
  kept = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
  return subprocess.run(["bash", str(folder / script), *arguments], env=kept | environment, capture_output=True,
                        text=True, stdin=subprocess.DEVNULL, check=False)


def assert_dry_run(expected, script, *arguments, **environment):
  run = launch(script, "--dry-run", *arguments, **environment)
  assert (run.returncode, run.stderr) == (0, "")
  commands = [["cd", str(REPO)], *expected]
  assert run.stdout == "".join(shlex.join(command) + "\n" for command in commands)


@pytest.mark.parametrize("script", [*SCRIPTS, "common.sh"])
def test_is_bash(script):
  subprocess.run(["bash", "-n", str(LAUNCH / script)], check=True)
  assert os.access(LAUNCH / script, os.X_OK) == (script in SCRIPTS)


@pytest.mark.parametrize("arguments", [[], ODD])
@pytest.mark.parametrize("module", ["main", "benchmark"])
def test_gpu_here(module, arguments):
  assert_dry_run([["python3.12", "-m", "venv", ".venv"], [".venv/bin/pip", "install", "-e", ".[cuda]"],
                  [".venv/bin/python", "-m", f"jaxskill.{module}", *arguments]],
                 "gpu.sh", module, "--python=python3.12", "--", *arguments)


def test_gpu_hosts():
  install = UNPACK + "python3 -m venv .venv && .venv/bin/pip install -e '.[cuda]'"
  start = ["cd jaxskill && " + shlex.join(["env", "JAX_COORDINATOR_ADDRESS=gpu1:4321", "JAX_NUM_PROCESSES=2",
                                           f"JAX_PROCESS_ID={rank}", ".venv/bin/python", "-m", "jaxskill.main", *ODD])
           for rank in range(2)]
  assert_dry_run([*PACK, ["scp", "build/jaxskill.tar.gz", "me@gpu1:jaxskill.tar.gz"],
                  ["scp", "build/jaxskill.tar.gz", "gpu2:jaxskill.tar.gz"],
                  ["ssh", ALIVE, "me@gpu1", install], ["ssh", ALIVE, "gpu2", install],
                  ["ssh", ALIVE, "me@gpu1", start[0]], ["ssh", ALIVE, "gpu2", start[1]]],
                 "gpu.sh", "--hosts", "me@gpu1,gpu2", "--port", "4321", "--", *ODD)


@pytest.mark.parametrize("project", [[], ["--project=domain.com:lab"]])
def test_tpu_vm(project):
  where = ["--zone=us-east5-a", *project, "--worker=all"]
  venv = "python3.11 -m venv .venv"
  package = "sudo apt-get update && sudo DEBIAN_FRONTEND=noninteractive apt-get install -y python3.11-venv"
  vm = ["gcloud", "compute", "tpus", "tpu-vm"]
  ssh = [*vm, "ssh", "pod", *where, f"--ssh-flag={ALIVE}"]
  scp = [*vm, "scp", "build/jaxskill.tar.gz", "pod:jaxskill.tar.gz", *where]
  count = [*vm, "describe", "pod", *where[:-1], "--format=value(networkEndpoints.len())"]
  install = UNPACK + f"{{ {venv} || {{ {package} && {venv}; }}; }} && .venv/bin/pip install -e '.[tpu]'"
  start = "cd jaxskill && " + shlex.join(["env", "JAX_NUM_PROCESSES=HOSTS", ".venv/bin/python", "-m",
                                          "jaxskill.benchmark", *ODD])
  commands = [count, scp, [*ssh, f"--command={install}"], [*ssh, f"--command={start}"]]
  named = ["benchmark", "--name", "pod", "--zone=us-east5-a", *project]
  assert_dry_run([*PACK, *commands], "tpu_vm.sh", *named, "--", *ODD)
  create = ["gcloud", "compute", "tpus", "queued-resources", "create", "pod", *where[:-1], "--node-id=pod",
            "--accelerator-type=v6e-16", "--runtime-version=v2-alpha-tpuv6e", "--spot"]
  commands[2][-1] = commands[2][-1].replace("[tpu]", "[tpu,gcs]")
  assert_dry_run([*PACK, create, *commands], "tpu_vm.sh", *named, "--type", "v6e-16", "--spot", "--extras=tpu,gcs",
                 "--runtime=v2-alpha-tpuv6e", "--", *ODD)


def test_slurm():
  setup = [["python3", "-m", "venv", ".venv"], [".venv/bin/pip", "install", "-e", ".[cuda]"]]
  layout = ["--nodes=2", "--ntasks-per-node=8", "--gpus-per-node=8"]
  command = ["env", "JAX_NUM_PROCESSES=16", ".venv/bin/python", "-m", "jaxskill.main", *ODD]
  options = ["--nodes=2", "--gpus=8", "--time", "2:00:00", "--partition=gpu", "--account=me"]
  submit = ["sbatch", "--job-name=jaxskill-main", *layout, "--time=2:00:00", "--partition=gpu", "--account=me"]
  assert_dry_run([*setup, [*submit, f"--wrap={shlex.join(['srun', *command])}"]], "slurm.sh", *options, "--", *ODD)
  assert_dry_run([*setup, ["srun", *layout, *command]], "slurm.sh", *options, "--", *ODD, SLURM_JOB_ID="7")


@pytest.mark.parametrize("options, layout, tasks", [
    (["--folds=4", "--seeds=5", "--workdir=runs/a b"], ["--gpus-per-node=1"], "0-19"),
    (["--seeds=3", "--workdir=runs/a b", "--gpus=2"], ["--gpus-per-node=2"], "0-2"),
    (["--folds=2", "--workdir=runs/a b", "--cpus=8", "--gpus=0"], ["--cpus-per-task=8"], "0-1"), (["--shards=16"], ["--gpus-per-node=1"], "0-15")])
def test_slurm_array(options, layout, tasks):
  module = "extract" if options == ["--shards=16"] else "main"
  gpus = next((option for option in options if option.startswith("--gpus")), "--gpus=1")
  layout = ["--nodes=1", f"--ntasks-per-node={max(1, int(gpus[-1]))}", *layout]
  given = [option for option in options if option != gpus]
  again = shlex.join(["launch/slurm_array.sh", module, gpus, *given, "--", *ODD])
  submit = ["sbatch", f"--job-name=jaxskill-{module}", f"--array={tasks}%4", *layout, "--requeue", "--open-mode=append",
            "--signal=B:USR1@60", "--time=2:00:00", "--partition=gpu", "--account=me", f"--wrap=exec {again}"]
  assert_dry_run([["python3", "-m", "venv", ".venv"], [".venv/bin/pip", "install", "-e", ".[cuda,gcs]"], submit],
                 "slurm_array.sh", module, *options, "--at-once=4", "--grace=60", "--time", "2:00:00",
                 "--partition=gpu", "--account=me", "--extras=cuda,gcs", "--", *ODD)


@pytest.mark.parametrize("options, index, words", [
    (["--folds=4", "--seeds=5", "--workdir=w"], 13, ["--config.folds=(2,)", "--config.seeds=(3,)", "--workdir=w/fold2_seed3"]),
    (["--folds=4", "--workdir=w"], 3, ["--config.folds=(3,)", "--workdir=w/fold3"]),
    (["--seeds=5", "--workdir=w"], 4, ["--config.seeds=(4,)", "--workdir=w/seed4"]),
    (["--shards=16", "--cpus=8"], 15, ["--shard=15/16"])])
def test_task_of_an_array(options, index, words):
  module = "extract" if "--shards=16" in options else "main"
  cpus = ["--cpus-per-task=8"] if "--cpus=8" in options else []
  step = ["srun", "--nodes=1", "--ntasks-per-node=1", "--gpus-per-node=1", *cpus, "env", "JAX_NUM_PROCESSES=1",
          ".venv/bin/python", "-m", f"jaxskill.{module}", *ODD, *words]
  assert_dry_run([step], "slurm_array.sh", module, *options, "--", *ODD, SLURM_ARRAY_TASK_ID=str(index))


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_names_every_option(script):
  run = launch(script, "--help")
  assert run.returncode == 0
  known = next(line for line in (LAUNCH / script).read_text().splitlines() if line.startswith('parse "'))
  for option in [*shlex.split(known)[1].split(), "dry-run"]:
    assert f"  --{option.rstrip('!')} " in run.stdout
  assert "set -euo pipefail" not in run.stdout


@pytest.mark.parametrize("script,arguments,words", [
    ("gpu.sh", ["--zone", "a"], "unknown option --zone"),
    ("gpu.sh", ["--hosts port=1"], "unknown option --hosts port"),
    ("gpu.sh", ["--hosts"], "--hosts needs a value"),
    ("gpu.sh", ["--hosts", "--port", "1"], "--hosts needs a value"),
    ("gpu.sh", ["--port="], "--port needs a value"),
    ("gpu.sh", ["--port", "http"], "--port=http is not"),
    ("gpu.sh", ["--port", "65536"], "--port=65536 is not"),
    ("gpu.sh", ["--hosts", "a,,b"], "'' is not a plain name"),
    ("gpu.sh", ["--hosts", "a,b,"], "ends with a comma"),
    ("gpu.sh", ["--hosts", "a,-oProxyCommand=b"], "'-oProxyCommand=b' is not a plain name"),
    ("gpu.sh", ["--dir", "a;b", "--hosts", "a"], "'a;b' is not a plain name"),
    ("gpu.sh", ["train"], "cannot run 'train'"),
    ("gpu.sh", [""], "cannot run ''"),
    ("gpu.sh", ["main benchmark"], "cannot run 'main benchmark': expected main or benchmark"),
    ("gpu.sh", ["extract"], "cannot run 'extract': expected main or benchmark"),
    ("gpu.sh", ["main", "benchmark"], "both main and benchmark"),
    ("gpu.sh", ["--config", "configs/core.py"], "goes after --"),
    ("tpu_vm.sh", ["--zone", "a"], "--name is missing"),
    ("tpu_vm.sh", ["--name", "a"], "--zone is missing"),
    ("tpu_vm.sh", ["--name", "a b", "--zone", "a"], "'a b' is not a plain name"),
    ("tpu_vm.sh", ["--name", "a", "--zone", "a", "--type", "v6e-8"], "--runtime is missing"),
    ("tpu_vm.sh", ["--name", "a", "--zone", "a", "--spot"], "--type is missing"),
    ("tpu_vm.sh", ["--name", "a", "--zone", "a", "--spot=yes"], "unknown option --spot"),
    ("tpu_vm.sh", ["--name", "a", "--zone", "a", "--type", "a b", "--runtime", "r"], "'a b' is not a plain name"),
    ("tpu_vm.sh", ["--name", "a", "--zone", "a", "--wait", "1h"], "--wait=1h is not a whole number"),
    ("slurm_array.sh", ["--workdir", "w"], "--folds or --seeds is missing"),
    ("slurm_array.sh", ["--folds", "2"], "--workdir is missing"),
    ("slurm_array.sh", ["extract"], "--shards is missing"),
    ("slurm_array.sh", ["extract", "--shards", "2", "--folds", "2"], "are for main"),
    ("slurm_array.sh", ["--shards", "2"], "--shards is for extract"),
    ("slurm_array.sh", ["--folds", "a"], "--folds=a is not a whole number"),
    ("slurm_array.sh", ["--at-once", "0", "--folds", "2", "--workdir", "w"], "--at-once=0 is not a whole number"),
    ("slurm_array.sh", ["--folds", "2", "--workdir", "w", "--", "--workdir=v"], "has a --workdir of its own"),
    ("slurm_array.sh", ["extract", "--shards", "2", "--", "--shard", "0/2"], "has a --shard of its own"),
    ("slurm.sh", ["--nodes", "0"], "--nodes=0 is not a whole number"),
    ("slurm.sh", ["--gpus=two"], "--gpus=two is not a whole number"),
])
def test_refusals(script, arguments, words):
  run = launch(script, "--dry-run", *arguments)
  assert (run.returncode, run.stdout) == (2, "")
  assert run.stderr.startswith(f"{script}: ") and words in run.stderr


# Stand-ins for the tools: a host is a folder, and its interpreter writes down what reaches it.
STUBS = {
    "ssh": 'shift && mkdir -p "$HOSTS/$1" && cd "$HOSTS/$1" && shift && exec sh -c "$*"',
    "scp": 'mkdir -p "$HOSTS/${2%%:*}" && cp "$1" "$HOSTS/${2%%:*}/${2#*:}"',
    "python3": 'mkdir -p .venv/bin && cp "$HOSTS/../bin/pip" "$HOSTS/../bin/python" .venv/bin',
    "pip": 'test -f pyproject.toml && test ! -e data && printf "%s\\n" "$@" > pip.txt',
    "python": 'printf "%s\\n" "$JAX_PROCESS_ID/$JAX_NUM_PROCESSES $JAX_COORDINATOR_ADDRESS" "$@" > python.txt\n'
              'test "$JAX_PROCESS_ID" != "$FAILS" || exit 3',
}


@pytest.mark.parametrize("fails", ["none", "0"])
def test_gpu_hosts_really_run(tmp_path, fails):
  checkout, tools, hosts = tmp_path / "check out", tmp_path / "bin", tmp_path / "hosts"
  for folder in (checkout / "data", tools, hosts):
    folder.mkdir(parents=True)
  shutil.copytree(LAUNCH, checkout / "launch")
  shutil.copy(REPO / "pyproject.toml", checkout)
  for name, script in STUBS.items():
    (tools / name).write_text(f"#!/bin/sh\n{script}\n")
    (tools / name).chmod(0o755)
  run = launch("gpu.sh", "--hosts", "a,b", "--", *ODD, folder=checkout / "launch", HOSTS=str(hosts), FAILS=fails,
               PATH=f"{tools}:{os.environ['PATH']}")
  assert run.returncode == (0 if fails == "none" else 3), run.stderr
  for rank, host in enumerate("ab"):
    assert (hosts / host / "jaxskill" / "pip.txt").read_text() == "install\n-e\n.[cuda]\n"
    words = [f"{rank}/2 a:12355", "-m", "jaxskill.main", *ODD]
    assert (hosts / host / "jaxskill" / "python.txt").read_text() == "".join(word + "\n" for word in words)
