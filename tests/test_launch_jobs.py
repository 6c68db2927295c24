"""Launchers against stand-ins for gcloud and SLURM, which play what a cloud and a cluster do to a job."""

import os
import shutil
import signal
import subprocess
import time

import pytest

from tests.places import REPO
from tests.processes import running
from tests.test_launch import LAUNCH, ODD, launch

# Each records its arguments. A line of `states` or `exits` is what gcloud says next; the last one stays.
STANDINS = {
    "gcloud": r"""
record gcloud "$@"
case "$*" in
  *nodeSpec*) printf '1\t%s\t%s\n' "$5" "$(cat "$PLAY/asked" 2> /dev/null || echo v6e-16)" ;;
  *"queued-resources describe"*)
    state=$(next states)
    case $state in
      MISSING) echo "ERROR: (gcloud.compute.tpus.queued-resources.describe) NOT_FOUND: no resource" >&2; exit 1 ;;
      DENIED) echo "ERROR: (gcloud.compute.tpus.queued-resources.describe) PERMISSION_DENIED: not yours" >&2; exit 1 ;;
    esac
    echo "$state"
    echo "Updates are available for some components." >&2 ;;
  *len*) cat "$PLAY/hosts" ;;
  *"--command=cd jaxskill"*) exit "$(next exits)" ;;
esac""",
    "sleep": 'echo "$1" >> "$PLAY/slept"',
    "sbatch": r"""
record sbatch "$@"
for word in "$@"; do
  case $word in --array=*) last=${word##*-} last=${last%%%*} ;; --wrap=*) wrap=${word#--wrap=} ;; esac
done
for index in $(seq 0 "$last"); do
  SLURM_ARRAY_TASK_ID=$index SLURM_ARRAY_JOB_ID=7 SLURM_JOB_ID=$((100 + index)) sh -c "$wrap" || exit
done""",
    "srun": r"""
record srun "$@"
while case $1 in --*) true ;; *) false ;; esac; do shift; done
exec "$@" """,
    "scancel": 'record scancel "$@"; kill -TERM "$(cat "$PLAY/step")"',          # as SLURM signals a job's steps
    "scontrol": 'record scontrol "$@"; exit 1',                                # as where the job ends meanwhile
    "python3": 'mkdir -p .venv/bin && cp "$PLAY/bin/pip" "$PLAY/bin/python" .venv/bin',
    "pip": 'record pip "$@"',
    "python": r"""
record python "$JAX_NUM_PROCESSES" "$@"
[ -e "$PLAY/exits" ] || exit 0
trap 'record saved; exit "$(next exits)"' TERM
echo $$ > "$PLAY/step.new" && mv "$PLAY/step.new" "$PLAY/step"
for _ in $(seq 600); do /bin/sleep 0.05; done
exit 99""",
}
TOOLS = r"""#!/bin/bash
record() { { printf '%s\037' "$@"; printf '\036'; } >> "$PLAY/calls"; }
next() { head -n 1 "$PLAY/$1"; [ "$(wc -l < "$PLAY/$1")" = 1 ] || sed -i.old 1d "$PLAY/$1"; }
"""


class Play:
  """A checkout with the launchers, and the stand-ins first on the PATH."""

  def __init__(self, root):
    self.root, self.checkout = root, root / "check out"
    (root / "bin").mkdir()
    for name, script in STANDINS.items():
      (root / "bin" / name).write_text(TOOLS + script + "\n")
      (root / "bin" / name).chmod(0o755)
    shutil.copytree(LAUNCH, self.checkout / "launch")
    shutil.copy(REPO / "pyproject.toml", self.checkout)
    self.environment = dict(PLAY=str(root), PATH=f"{root / 'bin'}:{os.environ['PATH']}")

  def run(self, script, *arguments, **lines):
    """Runs a launcher; `lines` are those of the files that the stand-ins read."""
    for name, values in lines.items():
      (self.root / name).write_text("".join(f"{value}\n" for value in values))
    return launch(script, *arguments, folder=self.checkout / "launch", **self.environment)

  def calls(self):
    """The recorded calls, each a list of words."""
    path = self.root / "calls"
    return [call.split("\x1f")[:-1] for call in path.read_text().split("\x1e")[:-1]]


@pytest.fixture
def play(tmp_path):
  return Play(tmp_path)


def verbs(calls):
  """What gcloud was asked to do, in short."""
  return ["start" if any(word.startswith("--command=cd jaxskill") for word in call) else
          "count" if call[4] == "describe" and call[3] == "tpu-vm" else "whose" if "nodeSpec" in call[-1] else
          "install" if call[4] == "ssh" else call[4] for call in calls]


SLICE = ["--name", "pod", "--zone", "z", "--type", "v6e-16", "--runtime", "r", "--spot", "--poll", "20"]
ATTEMPT = ["count", "scp", "install", "start"]
WAITING = "WAITING_FOR_RESOURCES"


def test_slice_that_is_taken_away_is_made_again(play):
  run = play.run("tpu_vm.sh", *SLICE, "--", *ODD, hosts=[4], exits=[255, 0], states=[
      "MISSING", WAITING, "PROVISIONING", "ACTIVE", "ACTIVE", "SUSPENDING", "SUSPENDING", "SUSPENDED", "MISSING", WAITING,
      "ACTIVE"])
  assert run.returncode == 0, run.stderr
  calls = play.calls()
  assert verbs(calls) == [
      "describe", "create", "describe", "describe", "describe", *ATTEMPT,                          # until it is ACTIVE
      "describe", "describe",                                                                      # it was taken away
      "describe", "describe", "whose", "delete", "describe", "create", "describe", "describe", *ATTEMPT]
  starts = [call for call, verb in zip(calls, verbs(calls)) if verb == "start"]
  assert starts[0] == starts[1] and "JAX_NUM_PROCESSES=4" in starts[0][-1]
  created = [call for call, verb in zip(calls, verbs(calls)) if verb == "create"]
  assert created[0] == created[1] and created[0][4:] == [
      "create", "pod", "--zone=z", "--node-id=pod", "--accelerator-type=v6e-16", "--runtime-version=r", "--spot"]
  assert "pod was taken away; restart 1 of 10" in run.stderr and f"pod is {WAITING}" in run.stderr
  assert "pod stays until: gcloud compute tpus queued-resources delete pod --zone=z --force" in run.stderr
  assert set((play.root / "slept").read_text().split()) == {"20"}


@pytest.mark.parametrize("states, exits, code, asked, words", [
    (["ACTIVE"], [1], 1, ["describe", *ATTEMPT, *["describe"] * 4], ""),                  # and it stays ACTIVE for a minute
    ([WAITING], [0], 1, ["describe"] * 4, "pod is not ACTIVE after 60 seconds, but WAITING_FOR_RESOURCES"),
    (["MISSING", "FAILED"], [0], 1, ["describe", "create", "describe"], "the request for pod FAILED; why, says: gcloud"),
    (["FAILED", "MISSING", "ACTIVE"], [0], 0, ["describe", "whose", "delete", "describe", "create", "describe", *ATTEMPT], ""),
    (["DENIED"], [0], 1, ["describe"], "PERMISSION_DENIED: not yours"),
    ([WAITING, "DENIED", "ACTIVE"], [0], 0, ["describe"] * 3 + ATTEMPT, "pod is UNKNOWN"),
    (["ACTIVE", "DENIED"], [255], 255, ["describe", *ATTEMPT, *["describe"] * 4], "PERMISSION_DENIED"),     # it may live on
    # Hosts that have lost another one end with 2.
    (["ACTIVE", "SUSPENDED", "ACTIVE", "SUSPENDED"], [2], 2, ["describe", *ATTEMPT, "describe"] * 2,
     "pod was taken away once more; the same command goes on"),
])
def test_slice_that_does_not_come_or_a_run_that_fails(play, states, exits, code, asked, words):
  run = play.run("tpu_vm.sh", *SLICE, "--wait", "60", "--restarts", "1", states=states, exits=exits, hosts=[1])
  assert (run.returncode, verbs(play.calls())) == (code, asked), run.stderr
  assert words in run.stderr


@pytest.mark.parametrize("state", ["FAILED", "SUSPENDED"])
def test_what_somebody_else_asked_for_by_this_name_is_not_deleted(play, state):
  run = play.run("tpu_vm.sh", *SLICE, "--wait", "60", states=[state], exits=[0], hosts=[1], asked=["v4-8"])
  assert run.returncode == 1 and verbs(play.calls()) == ["describe", "whose"]
  assert f"pod is {state}, but asks for something else than one v6e-16 of this name (1\tpod\tv4-8)" in run.stderr


@pytest.mark.parametrize("said, environment", [("2", "env JAX_NUM_PROCESSES=2 "), ("", "")])
def test_tpu_that_is_there_is_taken_and_no_other_is_made(play, said, environment):
  """Also where gcloud does not say how many hosts it has."""
  run = play.run("tpu_vm.sh", "--name=pod", "--zone=z", exits=[3], hosts=[said])
  assert run.returncode == 3 and verbs(play.calls()) == ATTEMPT
  assert play.calls()[-1][-1] == f"--command=cd jaxskill && {environment}.venv/bin/python -m jaxskill.main"
  assert "stays until" not in run.stderr and ("does not say how many hosts" in run.stderr) == (not said)


def test_every_task_of_an_array_runs_its_own(play):
  run = play.run("slurm_array.sh", "--folds", "2", "--seeds", "2", "--workdir", "runs/my array", "--", *ODD[:4])
  assert run.returncode == 0, run.stderr
  calls = play.calls()
  assert [call for call in calls if call[0] == "python"] == [
      ["python", "1", "-m", "jaxskill.main", *ODD[:4], f"--config.folds=({fold},)", f"--config.seeds=({seed},)",
       f"--workdir=runs/my array/fold{fold}_seed{seed}"] for fold in (0, 1) for seed in (0, 1)]
  assert calls[0] == ["pip", "install", "-e", ".[cuda]"] and "--requeue" in calls[1]


def test_every_shard_of_an_extraction(play):
  run = play.run("slurm_array.sh", "extract", "--shards", "3", "--gpus", "0", "--extras=video", "--", "--videos", "V")
  assert run.returncode == 0, run.stderr
  assert [call for call in play.calls() if call[0] == "python"] == [
      ["python", "1", "-m", "jaxskill.extract", "--videos", "V", f"--shard={index}/3"] for index in range(3)]


@pytest.mark.parametrize("code, requeued", [(143, True), (0, False)])
def test_task_at_its_time_limit_saves_and_is_queued_again(play, code, requeued):
  """SLURM signals the batch script, which tells the step; one that has finished meanwhile is not queued again."""
  environment = dict(SLURM_ARRAY_TASK_ID="1", SLURM_ARRAY_JOB_ID="7", SLURM_JOB_ID="101")
  (play.root / "exits").write_text(f"{code}\n")
  subprocess.run([str(play.root / "bin" / "python3")], cwd=play.checkout, env=play.environment, check=True)
  with running(["bash", "launch/slurm_array.sh", "--folds=2", "--workdir=w"], cwd=play.checkout,
               env=play.environment | environment) as job:
    while not (play.root / "step").exists():
      assert job.poll() is None
      time.sleep(0.02)
    job.send_signal(signal.SIGUSR1)
    assert job.wait() == code
  assert [call for call in play.calls() if call[0] not in ("srun", "python")] == [
      ["scancel", "--signal=TERM", "101"], ["saved"], *([["scontrol", "requeue", "7_1"]] if requeued else [])]


@pytest.mark.parametrize("code, requeued", [(2, False), (143, True)])
def test_task_that_fails_is_not_queued_again_but_one_whose_step_was_preempted(play, code, requeued):
  (play.root / "bin" / "python").write_text(f"#!/bin/sh\nexit {code}\n")
  subprocess.run([str(play.root / "bin" / "python3")], cwd=play.checkout, env=play.environment, check=True)
  play.environment |= dict(SLURM_ARRAY_TASK_ID="0", SLURM_ARRAY_JOB_ID="7", SLURM_JOB_ID="100")
  assert play.run("slurm_array.sh", "--folds=2", "--workdir=w").returncode == code
  assert [call[0] for call in play.calls()] == ["srun", *["scontrol"] * requeued]
