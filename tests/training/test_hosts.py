"""Who joins whom: stand-in surroundings, JAX's own detection, and a metadata server of ours in place of Google's."""

import http.server
import importlib.machinery
import os
import socket
import sys
import threading
import types

import jax
import pytest
from jax._src import clusters
from jax._src.clusters import cloud_tpu_cluster, cluster

from jaxskill.training import hosts

SKIP = "TPU_SKIP_MDS_QUERY"
AS_JAX_LEFT_IT = os.environ.get(SKIP)
PREFIXES = ("JAX_COORD", "JAX_NUM_PRO", "JAX_PROCESS", "JAXSKILL_HEART", "OMPI_", "SLURM_", "TPU_", "MEGASCALE_",
            "KUBERNETES_", "JOB_COMPLETION")
BY_HAND = dict(JAX_COORDINATOR_ADDRESS="first:1234", JAX_NUM_PROCESSES="4", JAX_PROCESS_ID="2")
POD = dict(KUBERNETES_SERVICE_HOST="10.0.0.1")
ALLOCATION = dict(SLURM_JOB_ID="5", SLURM_NTASKS="4", SLURM_PROCID="0", SLURM_LOCALID="0")
STEP = ALLOCATION | dict(SLURM_STEP_NODELIST="node[001-002]", SLURM_STEP_NUM_TASKS="4", SLURM_STEP_ID="0",
                         SLURM_PROCID="3", SLURM_LOCALID="1")
MPIRUN = dict(OMPI_COMM_WORLD_SIZE="2", OMPI_COMM_WORLD_RANK="1", OMPI_COMM_WORLD_LOCAL_RANK="0")
ORTE = dict(OMPI_MCA_orte_hnp_uri="1531576320.0;tcp://10.96.0.1,10.148.0.1:34911")
GKE = dict(TPU_WORKER_HOSTNAMES="a,b", TPU_WORKER_ID="1")
SLICES = dict(MEGASCALE_NUM_SLICES="2", MEGASCALE_SLICE_ID="1", MEGASCALE_COORDINATOR_ADDRESS="c:80")
ALONE = {
    "laptop": {},
    "told to be alone": STEP | dict(JAX_NUM_PROCESSES="1"),
    "batch script": ALLOCATION,
    "interactive step of a larger allocation": STEP | dict(SLURM_STEP_NUM_TASKS="1"),
    "mpirun -n 1": MPIRUN | ORTE | dict(OMPI_COMM_WORLD_SIZE="1", OMPI_COMM_WORLD_RANK="0"),
    "pod": POD,
    "first pod of an indexed job": POD | dict(JOB_COMPLETION_INDEX="0"),
    "pod with TPUs of its own": GKE | POD | dict(TPU_WORKER_HOSTNAMES="localhost", JOB_COMPLETION_INDEX="3"),
}
JOINS = {
    "by hand": (BY_HAND, ("first:1234", 4, 2, None)),
    "by hand in a pod": (POD | BY_HAND, ("first:1234", 4, 2, None)),
    "by hand in a SLURM step": (STEP | BY_HAND, ("first:1234", 4, 2, [1])),
    "SLURM": (STEP, ("node001:61445", 4, 3, [1])),
    "a launcher's number": (STEP | dict(JAX_NUM_PROCESSES="4"), ("node001:61445", 4, 3, [1])),
    "Open MPI": (MPIRUN | ORTE, ("10.96.0.1:62624", 2, 1, [0])),
}
OF_GKE = {
    "TPU_WORKER_HOSTNAMES": (GKE, ("a:8482", 2, 1, None)),
    "TPU_PROCESS_ADDRESSES": (GKE | dict(TPU_PROCESS_ADDRESSES="d:8471,e:8471,f:8471"), ("d:8482", 3, 1, None)),
    "slices": (GKE | SLICES, ("c:8482", 4, 3, None)),
    "slices of one host": (GKE | SLICES | dict(TPU_WORKER_HOSTNAMES="a", TPU_WORKER_ID="0"), ("c:8482", 2, 1, None)),
}
REFUSED = {
    "no libtpu": (GKE, "TPU_WORKER_HOSTNAMES announces 2 processes, but JAX cannot join them .*libtpu"),
    "no cluster": (dict(JAX_NUM_PROCESSES="8"), "JAX_NUM_PROCESSES announces 8 .* set JAX_COORDINATOR_ADDRESS"),
    "Open MPI 5": (MPIRUN, "OMPI_COMM_WORLD_SIZE announces 2 processes, but JAX cannot join them .*mpi4py"),
    "second pod": (POD | dict(JOB_COMPLETION_INDEX="1"), "JOB_COMPLETION_INDEX announces 2 processes, .*kubernetes"),
    "slices without TPUs": (SLICES, "MEGASCALE_NUM_SLICES announces 2 processes, but JAX cannot join them"),
    "JAX sees fewer": (STEP | dict(JAX_NUM_PROCESSES="8"), "JAX_NUM_PROCESSES announces 8 processes, but JAX sees 4"),
    "no number": (BY_HAND | dict(JAX_PROCESS_ID="two"), "JAX_PROCESS_ID=two is not a whole number"),
    "no port": (BY_HAND | dict(JAX_COORDINATOR_ADDRESS="first"), "JAX_COORDINATOR_ADDRESS=first is not HOST:PORT"),
    "one of three": (dict(JAX_COORDINATOR_ADDRESS="a:1"), "but JAX_NUM_PROCESSES and JAX_PROCESS_ID is not; set all"),
    "two of three": (BY_HAND | dict(JAX_NUM_PROCESSES=""), "COORDINATOR_ADDRESS is set but JAX_NUM_PROCESSES is not"),
}


@pytest.fixture
def join(monkeypatch):
  """join({variable: value}) -> what JAX finds, (address, processes, number, its devices), or None: it is not asked."""
  told = []

  def initialize(coordinator_address=None, num_processes=None, process_id=None, cluster_detection_method=None,
                 initialization_timeout=0, heartbeat_timeout_seconds=0, shutdown_timeout_seconds=0):
    found = (coordinator_address, num_processes, process_id, None)
    if cluster_detection_method != "deactivate":
      found = clusters.ClusterEnv.auto_detect_unset_distributed_params(*found, cluster_detection_method, 1)
    if None in found[:3]:
      raise ValueError("coordinator_address should be defined.")
    told.append((found, initialization_timeout, heartbeat_timeout_seconds, shutdown_timeout_seconds))

  def join(environment):
    for name in [name for name in os.environ if name.startswith(PREFIXES)]:
      monkeypatch.delenv(name)
    for name, value in ({SKIP: "1"} | environment).items():
      if value is not None:
        monkeypatch.setenv(name, value)
    with hosts.joined():
      return told[-1][0] if told else None

  join.told, join.met = told, []
  monkeypatch.setattr(hosts, "highest", join.met.append)
  monkeypatch.setattr(jax.distributed, "initialize", initialize)
  monkeypatch.setattr(jax, "process_count", lambda: told[-1][0][1] if told else 1)
  monkeypatch.setattr(socket, "gethostbyname", lambda name: "127.0.0.1")
  return join


@pytest.fixture
def libtpu(monkeypatch):
  """What JAX finds on a machine with TPUs."""
  for module in (cluster, cloud_tpu_cluster):
    monkeypatch.setattr(module, "running_in_cloud_tpu_vm", True)


class Metadata(http.server.BaseHTTPRequestHandler):
  """Stands in for the metadata server of a machine in Google's cloud."""

  def do_GET(self):
    key = self.path.removeprefix("/computeMetadata/v1/instance/attributes/")
    self.server.asked.append(key)
    value = self.server.attributes.get(key) if self.headers["Metadata-Flavor"] == "Google" else None
    self.send_response(404 if value is None else 200)
    self.end_headers()
    self.wfile.write((value or "").encode())

  def log_message(self, *_):
    pass


@pytest.fixture
def metadata(monkeypatch):
  """The server: put `attributes` there, and see what was `asked`; the library that JAX asks with calls it, too."""
  with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metadata) as server:
    server.asked, server.attributes = [], {"tpu-env": "ACCELERATOR_TYPE: 'v5litepod-16'\nZONE: 'us-east5-a'\n"}
    monkeypatch.setenv("GCE_METADATA_IP", f"127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("no_proxy", "*")
    thread = threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=0.01))
    thread.start()
    yield server
    server.shutdown()
    thread.join()


@pytest.mark.parametrize("environment", ALONE.values(), ids=ALONE)
def test_alone(join, environment):
  assert join(environment) is None


@pytest.mark.filterwarnings("error::UserWarning:jax._src.clusters.k8s_cluster")  # that a pod lacks what is not needed
@pytest.mark.parametrize("environment,expected", JOINS.values(), ids=JOINS)
def test_joins(join, environment, expected):
  assert join(environment) == expected
  assert join.told[0][1:] == (300, 100, 86400) and join.met == [0.0]


@pytest.mark.parametrize("environment,expected", OF_GKE.values(), ids=OF_GKE)
def test_joins_on_tpus_of_gke(join, libtpu, metadata, environment, expected):
  assert join(environment) == expected
  assert set(metadata.asked) <= {"tpu-env"}            # by JAX, for slices


@pytest.mark.filterwarnings("ignore:Kubernetes environment detected:UserWarning")       # what JAX says beside our words
@pytest.mark.parametrize("environment,message", REFUSED.values(), ids=REFUSED)
def test_refuses_to_train_alone(join, environment, message):
  with pytest.raises(ValueError, match=message):
    join(environment)


def test_laptop_asks_no_server(join, metadata):
  """JAX itself tells the library of TPUs so where it sees none; should it no longer, we would ask."""
  assert AS_JAX_LEFT_IT or os.path.exists("/dev/vfio/0") or os.path.exists("/dev/accel0")
  assert join({}) is None
  assert metadata.asked == []


WORKERS = "unknown:unknown:10.0.0.2,unknown:unknown:10.0.0.3,unknown:unknown:10.0.0.4"


def test_slice_of_cloud_tpus(join, libtpu, metadata):
  metadata.attributes |= {"worker-network-endpoints": WORKERS, "agent-worker-number": "2"}
  assert join({SKIP: None}) == ("10.0.0.2:8482", 3, 2, None)


def test_slices_of_cloud_tpus(join, libtpu, metadata):
  metadata.attributes |= {"worker-network-endpoints": WORKERS, "agent-worker-number": "2"}
  metadata.attributes["tpu-env"] += "".join(f"{name}: '{value}'\n" for name, value in SLICES.items())
  assert join({SKIP: None}) == ("c:8482", 6, 5, None)


def test_slices_of_one_cloud_tpu_each(join, libtpu, metadata):
  metadata.attributes |= {"worker-network-endpoints": "unknown:unknown:10.0.0.2", "agent-worker-number": "0"}
  metadata.attributes["tpu-env"] += "".join(f"{name}: '{value}'\n" for name, value in SLICES.items())
  assert join({SKIP: None}) == ("c:8482", 2, 1, None)


def test_slice_without_its_library_is_refused(join, metadata):
  metadata.attributes |= {"worker-network-endpoints": WORKERS, "agent-worker-number": "2"}
  with pytest.raises(ValueError, match=r"metadata server of this TPU announces 3 processes, .*pip install 'jaxskill\[tpu\]'"):
    join({SKIP: None})


def test_one_cloud_tpu(join, libtpu, metadata):
  metadata.attributes |= {"worker-network-endpoints": "unknown:unknown:10.0.0.2", "agent-worker-number": "0"}
  assert join({SKIP: None}) is None
  assert metadata.asked == ["worker-network-endpoints", "tpu-env"]


def test_tpu_outside_google_cloud(join, libtpu, metadata):
  """A metadata server without such workers, and none."""
  assert join({SKIP: None}) is None
  assert metadata.asked == ["worker-network-endpoints"]
  with socket.socket() as nobody:
    nobody.bind(("127.0.0.1", 0))
    assert join({SKIP: None, "GCE_METADATA_IP": f"127.0.0.1:{nobody.getsockname()[1]}"}) is None


def test_metadata_server_that_does_not_answer_is_not_waited_for(join, libtpu, monkeypatch):
  monkeypatch.setattr(hosts, "_METADATA_SECONDS", 0.01)
  with socket.create_server(("127.0.0.1", 0)) as silent:
    silent.settimeout(60)
    assert join({SKIP: None, "GCE_METADATA_IP": f"127.0.0.1:{silent.getsockname()[1]}"}) is None
    silent.accept()[0].close()
    silent.settimeout(0)
    with pytest.raises(BlockingIOError):                 # it was asked once
      silent.accept()


def test_addresses_in_a_file(join, libtpu, metadata, tmp_path):
  file = tmp_path / "addresses"
  file.write_text("a:8471,b:8471")
  environment = GKE | dict(TPU_PROCESS_ADDRESSES_PATH=str(file))
  assert join(environment) == ("a:8482", 2, 1, None)
  file.write_text("a:8471")
  assert hosts._announced() == (1, "TPU_PROCESS_ADDRESSES_PATH")


def stand_in(monkeypatch, name, **attributes):
  module = types.ModuleType(name)
  module.__spec__ = importlib.machinery.ModuleSpec(name, None)
  module.__dict__.update(attributes)
  monkeypatch.setitem(sys.modules, name, module)


def test_open_mpi_5(join, monkeypatch):
  """Which says no address: JAX asks mpi4py."""
  machine = types.SimpleNamespace(Get_rank=lambda: 0)
  world = types.SimpleNamespace(Get_rank=lambda: 1, Get_size=lambda: 2, bcast=lambda value, root: "first:61000",
                                Split_type=lambda kind: machine)
  stand_in(monkeypatch, "mpi4py", MPI=types.SimpleNamespace(COMM_WORLD=world, COMM_TYPE_SHARED=0))
  assert join(MPIRUN) == ("first:61000", 2, 1, [0])


class Kubernetes:
  """Stands in for the interfaces of Kubernetes: one indexed job of a JobSet; `forbidden` says nothing."""

  class ApiException(Exception):
    status, reason = 403, "Forbidden"

  def __init__(self, pods, forbidden):
    named = lambda **labels: types.SimpleNamespace(name="train", labels=labels, owner_references=[
        types.SimpleNamespace(controller=True, kind="Job")])
    self._pod = types.SimpleNamespace(metadata=named(**{"job-name": "train"}))
    self._job = types.SimpleNamespace(metadata=named(**{"jobset.sigs.k8s.io/jobset-name": "set"}),
                                      spec=types.SimpleNamespace(parallelism=pods))
    self._forbidden = forbidden

  def list_namespaced_pod(self, **_):
    if self._forbidden:
      raise self.ApiException
    return types.SimpleNamespace(items=[self._pod])

  def read_namespaced_job(self, **_):
    return self._job


@pytest.fixture
def kubernetes(monkeypatch):
  """kubernetes(pods, forbidden) puts the client's package in place."""
  cached = [getattr(clusters.K8sCluster, name).__func__.cache_clear for name in ("_pod", "_job", "_controller")]
  monkeypatch.setattr(clusters.K8sCluster, "_namespace", lambda: "default")
  monkeypatch.setenv("HOSTNAME", "train-1")

  def kubernetes(pods, forbidden=False):
    api = lambda: Kubernetes(pods, forbidden)
    errors = types.SimpleNamespace(ApiException=Kubernetes.ApiException)
    stand_in(monkeypatch, "kubernetes", config=types.SimpleNamespace(load_incluster_config=lambda: None),
             client=types.SimpleNamespace(CoreV1Api=api, BatchV1Api=api, exceptions=errors))
  for clear in cached:
    clear()
  yield kubernetes
  for clear in cached:
    clear()


def test_pods(join, kubernetes):
  kubernetes(2)
  assert join(POD | dict(JOB_COMPLETION_INDEX="1")) == ("train-0.set:55527", 2, 1, None)


def test_first_of_several_pods(join, kubernetes):
  kubernetes(2)
  assert join(POD | dict(JOB_COMPLETION_INDEX="0")) == ("train-0.set:55527", 2, 0, None)


def test_pods_that_may_not_ask(join, kubernetes, capsys):
  kubernetes(2, forbidden=True)
  assert join(POD | dict(JOB_COMPLETION_INDEX="0")) is None
  assert "trains alone (Kubernetes API Error: 403" in capsys.readouterr().out
  with pytest.raises(ValueError, match="JOB_COMPLETION_INDEX announces 2 processes, .*403 - Forbidden"):
    join(POD | dict(JOB_COMPLETION_INDEX="1"))


def test_failure_of_another_process(join, monkeypatch):
  timers = []

  class Timer(threading.Timer):
    def start(self):
      timers.append((self.interval, self.function, self.args, self.daemon))

  monkeypatch.setattr(threading, "Timer", Timer)
  monkeypatch.setattr(jax.distributed, "is_initialized", lambda: bool(join.told))
  lost = jax.errors.JaxRuntimeError("UNKNOWN: Gloo all-reduce failed: Connection closed by peer")
  join(BY_HAND)
  full = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: much")
  late = ValueError("UNKNOWN: Gloo AllGather failed: Connection reset by peer")          # as some calls of JAX say it
  for error, expected in ((lost, ConnectionError), (late, ConnectionError), (full, RuntimeError),
                          (ValueError("own"), ValueError)):
    with pytest.raises(expected) as caught, hosts.joined():
      raise error
    assert ("process" in str(caught.value)) == (error in (lost, late))
  assert timers == [(5.0, os._exit, (2,), True)] * 4
