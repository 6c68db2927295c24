"""Files for images, Kubernetes and SkyPilot: parsed, held against what they name, and their commands run."""

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import tomllib

import pytest

from jaxskill import cli
from tests import documents
from tests.places import REPO
from tests.test_launch import LAUNCH, SCRIPTS

yaml = pytest.importorskip("yaml", reason="pip install '.[test]'")
JOBSETS = ["jobset.yaml", "jobset_gpu.yaml"]
DOCKERFILE = LAUNCH / "Dockerfile"
RECORD = "#!/bin/sh\nprintf '%s\\n' \"${0##*/}\" \"$@\" >> \"$CALLS\"\n"


@pytest.fixture
def tools(tmp_path):
  """tools(name, ...) -> environment in which these programs are stand-ins that record their arguments in `CALLS`."""
  def make(*names, folder=tmp_path / "bin"):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
      (folder / name).write_text(RECORD)
      (folder / name).chmod(0o755)
    return dict(os.environ, PATH=f"{folder}:{os.environ['PATH']}", CALLS=str(tmp_path / "calls"))
  return make


def instructions():
  """[(instruction, the rest of it)] of the Dockerfile, lines joined."""
  text = re.sub(r"\\\n", " ", DOCKERFILE.read_text(encoding="utf-8"))
  lines = [line for line in text.splitlines() if line and not line.startswith("#")]
  return [tuple(line.split(maxsplit=1)) for line in lines]


def test_scripts_pass_shellcheck():
  program = shutil.which("shellcheck")
  if program is None:
    pytest.skip("ShellCheck is not installed: pip install '.[test]'")
  files = [str(LAUNCH / name) for name in SCRIPTS]
  run = subprocess.run([program, "-x", "-P", "SCRIPTDIR", *files], capture_output=True, text=True, check=False)
  assert run.returncode == 0, run.stdout


def test_dockerfile_is_one():
  names = [name for name, _ in instructions()]
  assert names[:2] == ["ARG", "FROM"] and set(names) <= {"ARG", "FROM", "RUN", "COPY", "USER", "WORKDIR", "ENTRYPOINT", "CMD"}
  found = dict(instructions())
  assert found["USER"] == "jaxskill" and names.index("USER") > max(i for i, name in enumerate(names) if name == "RUN")
  assert found["ENTRYPOINT"] == '["python", "-m"]' and found["CMD"].startswith('["jaxskill.main"')
  python = next(value for name, value in instructions() if name == "ARG").partition("=")[2]
  low, high = re.findall(r"3\.(\d+)", tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["requires-python"])
  assert int(low) <= int(python.removeprefix("3.")) < int(high)


def test_image_gets_what_an_installation_needs_and_its_context_holds_it():
  copied = [word for name, rest in instructions() if name == "COPY" for word in rest.split()[:-1]]
  project = tomllib.loads((REPO / "pyproject.toml").read_text())
  packages = {project["tool"]["setuptools"]["package-dir"].get(name, name.replace(".", "/"))
              for name in project["tool"]["setuptools"]["packages"]}
  needed = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"],
            *(name.split("/")[0] for name in packages if not name.startswith("jaxskill/configs"))}
  assert set(copied) == needed and all((REPO / name).exists() for name in copied)
  rules = [line for line in (LAUNCH / "Dockerfile.dockerignore").read_text().splitlines() if not line.startswith("#")]
  assert rules[0] == "*" and {rule[1:] for rule in rules if rule[0] == "!"} == needed


@pytest.mark.parametrize("extras, package", [("", "/source"), ("cuda", "/source[cuda]"), ("tpu,gcs", "/source[tpu,gcs]")])
def test_image_is_for_a_cpu_unless_extras_are_named(tools, tmp_path, extras, package):
  install = next(rest for name, rest in instructions() if name == "RUN" and rest.startswith("pip"))
  assert ("ARG", 'EXTRAS=""') in instructions()
  environment = tools("pip", "rm") | dict(EXTRAS=extras)
  subprocess.run(["sh", "-c", install], env=environment, cwd=tmp_path, check=True)
  assert (tmp_path / "calls").read_text().split() == ["pip", "install", "--no-cache-dir", package, "rm", "-r", "/source"]


@pytest.mark.parametrize("name", JOBSETS)
def test_hosts_of_a_jobset_find_each_other(name):
  jobset, = yaml.safe_load_all((LAUNCH / "k8s" / name).read_text())
  assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
  assert jobset["spec"]["failurePolicy"]["maxRestarts"] > 0
  replicated, = jobset["spec"]["replicatedJobs"]
  job = replicated["template"]["spec"]
  pod = job["template"]["spec"]
  container, = pod["containers"]
  environment = {one["name"]: one.get("value", one.get("valueFrom")) for one in container["env"]}
  name_of = f"{jobset['metadata']['name']}-{replicated['name']}-0-0.{jobset['metadata']['name']}"
  assert replicated["replicas"] == 1 and (job["completionMode"], job["backoffLimit"]) == ("Indexed", 0)
  assert str(job["parallelism"]) == str(job["completions"]) == environment["JAX_NUM_PROCESSES"]
  assert environment["JAX_COORDINATOR_ADDRESS"] == f"{name_of}:{container['ports'][0]['containerPort']}"
  assert environment["JAX_PROCESS_ID"]["fieldRef"]["fieldPath"] == (
      "metadata.annotations['batch.kubernetes.io/job-completion-index']")
  assert pod["restartPolicy"] == "Never" and pod["terminationGracePeriodSeconds"] >= 60


@pytest.mark.parametrize("name", JOBSETS)
def test_what_a_jobset_runs_can_be_run(name):
  """By the entry point of the image, with a folder that outlives the hosts."""
  jobset = yaml.safe_load((LAUNCH / "k8s" / name).read_text())
  module, *words = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["containers"][0]["args"]
  options = dict(zip(words[::2], words[1::2], strict=True))
  assert module == "jaxskill.main" and options["--workdir"].startswith("gs://")
  assert cli.read_config(options["--config"])[0].method


def test_chips_of_a_slice_are_those_of_its_hosts():
  job = yaml.safe_load((LAUNCH / "k8s" / "jobset.yaml").read_text())["spec"]["replicatedJobs"][0]["template"]["spec"]
  pod = job["template"]["spec"]
  columns, rows = map(int, pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x"))
  assert columns * rows == job["parallelism"] * pod["containers"][0]["resources"]["limits"]["google.com/tpu"]


def sky(script, environment, folder):
  """Runs a script of sky.yaml as SkyPilot does, in the folder of the checkout."""
  task = yaml.safe_load((LAUNCH / "sky.yaml").read_text())
  assert set(task) == {"name", "workdir", "num_nodes", "resources", "envs", "setup", "run"} and task["workdir"] == "."
  return subprocess.run(["bash", "-c", task[script]], env=task["envs"] | environment, cwd=folder, capture_output=True,
                        text=True, check=False)


def test_nodes_of_skypilot_find_each_other(tools, tmp_path):
  environment = tools("python3", "pip", "uv")
  (tmp_path / "bin" / "uv").write_text("#!/bin/sh\nexit 127\n")
  assert sky("setup", tools("pip", folder=tmp_path / ".venv" / "bin") | environment, tmp_path).returncode == 0
  assert (tmp_path / "calls").read_text().split() == ["python3", "-m", "venv", ".venv", "pip", "install", "-e", ".[cuda,s3]"]
  tools("uv")
  sky("setup", environment, tmp_path)
  assert "uv venv --seed --python 3.12 .venv pip install" in " ".join((tmp_path / "calls").read_text().split())
  python = tmp_path / ".venv" / "bin" / "python"
  python.write_text("#!/bin/sh\nenv | grep -E '^JAX_(COORDINATOR|NUM|PROCESS)_' | sort\nprintf '%s\\n' \"$@\"\n")
  python.chmod(0o755)
  node = environment | dict(SKYPILOT_NODE_IPS="10.0.0.1\n10.0.0.2", SKYPILOT_NUM_NODES="2", SKYPILOT_NODE_RANK="1")
  run = sky("run", node | dict(WORKDIR="s3://BUCKET/my run"), tmp_path)
  assert run.stdout.splitlines() == [
      "JAX_COORDINATOR_ADDRESS=10.0.0.1:12355", "JAX_NUM_PROCESSES=2", "JAX_PROCESS_ID=1", "-m", "jaxskill.main",
      "--config", "configs/pros_cons.py", "--workdir", "s3://BUCKET/my run"]
  missing = sky("run", node, tmp_path)
  assert (missing.returncode, missing.stdout) == (2, "") and "WORKDIR is missing" in missing.stderr


def commented(path):
  """Commands in the comment at the top of a file."""
  lines = [line.removeprefix("#   ") for line in path.read_text().splitlines() if line.startswith("#   ")]
  return documents.commands_of_shell("\n".join(lines))


def test_commands_of_documents_reach_the_programs(tools, tmp_path):
  """docker, kubectl and sky are called with files that are there and, of a build, with its arguments and context."""
  environment = tools("docker", "kubectl", "sky")
  pages = documents.commands(documents.read(LAUNCH / "README.md"))
  files = [DOCKERFILE, LAUNCH / "sky.yaml", *(LAUNCH / "k8s" / name for name in JOBSETS)]
  commands = [words for words in [*pages, *(words for path in files for words in commented(path))]
              if words[0] in ("docker", "kubectl", "sky")]
  assert {words[0] for words in commands} == {"docker", "kubectl", "sky"} and len(commands) >= 7
  for words in commands:
    subprocess.run(words, env=environment, cwd=REPO, check=True)
    for word in words:
      assert not fnmatch.fnmatch(word, "launch/*") or (REPO / word).is_file(), shlex.join(words)
  declared = {rest.partition("=")[0] for name, rest in instructions() if name == "ARG"}
  used = {word.partition("=")[0] for words in commands for option, word in zip(words, words[1:]) if option == "--build-arg"}
  assert used and used <= declared
  known = yaml.safe_load((LAUNCH / "sky.yaml").read_text())["envs"]
  assert {word.partition("=")[0] for words in commands for option, word in zip(words, words[1:])
          if option == "--env"} <= set(known)
  assert (tmp_path / "calls").read_text().splitlines()[:1] == ["docker"]
