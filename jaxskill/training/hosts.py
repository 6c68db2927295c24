"""Joins the hosts of a run where a launcher or its surroundings announce several, by JAX's own detection of clusters.

The first of these that is there decides; JAX finds the rest, and must see as many processes as are announced.

| announced by | in |
|---|---|
| a launcher | JAX_NUM_PROCESSES; 1 keeps a process alone, whatever else is announced |
| Open MPI | OMPI_COMM_WORLD_SIZE |
| SLURM | SLURM_STEP_NUM_TASKS: a shell or a batch script may hold more tasks than it runs in |
| TPUs of GKE | TPU_PROCESS_ADDRESSES_PATH, TPU_PROCESS_ADDRESSES, TPU_WORKER_HOSTNAMES; times MEGASCALE_NUM_SLICES |
| a Cloud TPU VM | its metadata server: workers, times slices |
| Kubernetes | JOB_COMPLETION_INDEX: pod i of an indexed job is one of i + 1 or more; other pods say nothing |

JAX_COORDINATOR_ADDRESS (host:port of process 0), JAX_NUM_PROCESSES and JAX_PROCESS_ID together need no detection.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pathlib
import re
import threading
from collections.abc import Iterator
from typing import Any

import jax

from jaxskill import cli
from jaxskill.training.parallel import highest

_METADATA = "169.254.169.254"      # of every machine of Google's cloud
_METADATA_SECONDS = 2.0
_JOIN_SECONDS = 300                # that JAX waits for the others to start
_END_SECONDS = 24 * 3600           # that JAX waits at the end for the process that writes; one that dies is noticed
_GRACE = 5.0                       # seconds that a process which failed waits for the others to end, too
_STATUS = re.compile(r"(UNKNOWN|INTERNAL|UNAVAILABLE|ABORTED|CANCELLED|DEADLINE_EXCEEDED|FAILED_PRECONDITION): ")
_BY_HAND = ("set JAX_COORDINATOR_ADDRESS (host:port of the first process), JAX_NUM_PROCESSES and JAX_PROCESS_ID for "
            "each process, or JAX_NUM_PROCESSES=1 if this one is to train alone")


@contextlib.contextmanager
def joined() -> Iterator[None]:
  """Runs the body as one of the processes of a run, if several are announced; nothing may touch a device before.

  A process that dies ends the others: at once where their connections to it close, else after
  JAXSKILL_HEARTBEAT_SECONDS (100) without a sign of life.

  Raises:
    ValueError: if several processes are announced and JAX does not see them, with the reason.
    ConnectionError: if the body fails because another process has ended.
  """
  try:
    _join()
    yield
  except Exception as error:
    if jax.distributed.is_initialized() and jax.process_count() > 1:
      # At its end a process waits for the others, which may wait for this one in the midst of a step.
      timer = threading.Timer(_GRACE, os._exit, (2,))
      timer.daemon = True
      timer.start()
      if _of_devices(error) and "RESOURCE_EXHAUSTED" not in str(error):
        raise ConnectionError(
            f"process {jax.process_index()} of {jax.process_count()} cannot go on, most likely because another one has "
            "ended: see what that one said. The same command for all of them goes on from the last checkpoint. "
            f"JAX says: {str(error)[:500]}") from error
    raise


def _of_devices(error: Exception) -> bool:
  """Returns whether computing has failed, and not our own code: some calls of JAX say so by a `ValueError`."""
  return isinstance(error, jax.errors.JaxRuntimeError) or isinstance(error, ValueError) and bool(
      _STATUS.match(str(error)))


def _join() -> None:
  if jax.distributed.is_initialized():
    return
  environment, arguments = os.environ, {}
  if address := environment.get("JAX_COORDINATOR_ADDRESS"):
    arguments = _by_hand(address)
  count, by = _announced()
  asks = by == "JOB_COMPLETION_INDEX" and importlib.util.find_spec("kubernetes")     # what JAX asks Kubernetes with
  if count < 2 and not asks:
    return
  if "OMPI_COMM_WORLD_SIZE" in environment and "OMPI_MCA_orte_hnp_uri" not in environment and not arguments:
    arguments = dict(cluster_detection_method="mpi4py")    # Open MPI 5 does not say where the first process is
  cli.say(f"{by} announces {count} or more processes: JAX waits for them, {_JOIN_SECONDS} seconds at most")
  heartbeat = _number("JAXSKILL_HEARTBEAT_SECONDS", 100)
  try:
    jax.distributed.initialize(initialization_timeout=_JOIN_SECONDS, shutdown_timeout_seconds=_END_SECONDS,
                               heartbeat_timeout_seconds=heartbeat, **arguments)
  except Exception as error:   # pylint: disable=broad-except   whatever JAX's detection runs into
    if count < 2 and not isinstance(error, jax.errors.JaxRuntimeError):
      cli.say(f"JAX cannot ask Kubernetes whether this pod is one of several, so it trains alone ({error}).")
      return
    raise ValueError(
        f"{by} announces {count} processes, but JAX cannot join them (it says: {error or type(error).__name__}). It "
        "needs libtpu on a TPU (pip install 'jaxskill[tpu]'), kubernetes in a pod, mpi4py under Open MPI 5; or "
        f"{_BY_HAND}.") from error
  if jax.process_count() < count:
    raise ValueError(f"{by} announces {count} processes, but JAX sees {jax.process_count()}; {_BY_HAND}.")
  # CPUs wait for one another for 30 seconds the first time, later for as long as it takes: process 0 may have to watch
  # the lock of a run on a store for a minute before it says what all wait for.
  highest(0.0)


def _by_hand(address: str) -> dict[str, Any]:
  """Returns the arguments for JAX out of the three variables that say all."""
  missing = [name for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID") if not os.environ.get(name)]
  if missing:
    raise ValueError(f"JAX_COORDINATOR_ADDRESS is set but {' and '.join(missing)} is not; set all three on every "
                     "host, or none for a run on one host.")
  if not re.fullmatch(r".+:\d+", address):
    raise ValueError(f"JAX_COORDINATOR_ADDRESS={address} is not HOST:PORT, where process 0 is to listen.")
  arguments = dict(coordinator_address=address, num_processes=_number("JAX_NUM_PROCESSES"),
                   process_id=_number("JAX_PROCESS_ID"))
  if not {"SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"} & os.environ.keys():     # where JAX gives each task its GPU
    arguments["cluster_detection_method"] = "deactivate"
  return arguments


def _announced() -> tuple[int, str]:
  """Returns (how many processes are announced, or more, by what)."""
  for name in ("JAX_NUM_PROCESSES", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"):
    if os.environ.get(name):
      return _number(name), name
  hosts, by = _tpu_hosts()
  if by == "nothing" and os.environ.get("KUBERNETES_SERVICE_HOST") and os.environ.get("JOB_COMPLETION_INDEX"):
    return _number("JOB_COMPLETION_INDEX") + 1, "JOB_COMPLETION_INDEX"
  return hosts, by


def _tpu_hosts() -> tuple[int, str]:
  """Returns (how many hosts all slices of TPUs have, what says so); (1, "nothing") where there are none."""
  slices = _number("MEGASCALE_NUM_SLICES", 1)
  for name in ("TPU_PROCESS_ADDRESSES_PATH", "TPU_PROCESS_ADDRESSES", "TPU_WORKER_HOSTNAMES"):
    if value := os.environ.get(name):
      addresses = pathlib.Path(value).read_text(encoding="utf-8") if name.endswith("_PATH") else value
      return slices * len(addresses.split(",")), name
  if "TPU_SKIP_MDS_QUERY" not in os.environ and (workers := _metadata("worker-network-endpoints")):   # JAX sets it
    about = re.search(r"MEGASCALE_NUM_SLICES\s*:\s*'?(\d+)", _metadata("tpu-env"))                    # without TPUs
    return len(workers.split(",")) * (int(about[1]) if about else slices), "the metadata server of this TPU"
  return slices, "MEGASCALE_NUM_SLICES" if slices > 1 else "nothing"


def _metadata(key: str) -> str:
  """Returns an attribute of this machine, "" if it has none or there is no metadata server."""
  import urllib.request  # which others than TPUs need not wait for
  url = f"http://{os.environ.get('GCE_METADATA_IP', _METADATA)}/computeMetadata/v1/instance/attributes/{key}"
  request = urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})
  direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
  try:
    with direct.open(request, timeout=_METADATA_SECONDS) as answer:
      return answer.read().decode()
  except OSError:
    return ""


def _number(name: str, default: int | None = None) -> int:
  """Returns a variable of the environment that must be a whole number from 0 on."""
  value = os.environ.get(name) or ("" if default is None else str(default))
  if not re.fullmatch(r"\d{1,6}", value):
    raise ValueError(f"{name}={value} is not a whole number.")
  return int(value)
