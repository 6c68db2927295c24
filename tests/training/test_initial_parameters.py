"""Published weights through the loop: files as the published trainings leave them begin a training, or are measured.

The files have the names and shapes of the published networks, small ones but where a golden file says what comes out.
"""

import json
import shutil

import jax
import numpy as np
import pytest
from flax import traverse_util

from jaxskill import main, methods, pretrained, train, weight_files
from jaxskill.export import __main__ as export
from jaxskill.training import checkpoints, finished_run
from tests.conftest import small_config
from tests.places import GOLDEN

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("quick_training")

RANK_AWARE = {"model.num_filters": 2, "model.hidden": 3}


def drawn(shapes, seed=0):
  rng = np.random.default_rng(seed)
  return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def rank_aware(width=10, hidden=3, filters=2):
  """The checkpoint of the published training, as it writes it: three networks, each in a tuple of its own."""
  shapes = {"fc.0.weight": (1, width), "fc.0.bias": (1,)}
  for k in range(filters):
    shapes |= {f"att_net.{k}.0.weight": (hidden, width), f"att_net.{k}.0.bias": (hidden,),
               f"att_net.{k}.2.weight": (1, hidden), f"att_net.{k}.2.bias": (1,)}
  return {f"state_dict_{name}": (drawn(shapes, seed),) for seed, name in enumerate(("pos", "neg", "uniform"))}


def saved(path, content):
  """Writes what a training holds with PyTorch; arrays become tensors, all else stays."""
  def tensors(node):
    if isinstance(node, dict):
      return {name: tensors(value) for name, value in node.items()}
    if isinstance(node, tuple):
      return tuple(map(tensors, node))
    return torch.from_numpy(node) if isinstance(node, np.ndarray) else node
  torch.save(tensors(content), path)
  return str(path)


@pytest.fixture
def file(tmp_path):
  return saved(tmp_path / "best.pth.tar", dict(epoch=3, best_prec=np.float64(0.7), **rank_aware()))


def config_of(file, options="simulated,official", **changes):
  return small_config("pros_cons", options, RANK_AWARE | dict(init_from=file, plots=False) | changes)


def results_of(workdir):
  return json.loads((workdir / "results.json").read_text())


def params_of(workdir, step):
  leaves = checkpoints.read(workdir / "checkpoints", step)
  return {name.removeprefix("params/"): leaf for name, leaf in leaves.items() if name.startswith("params/")}


def test_parameters_are_measured_as_they_are(tmp_path, file, capsys):
  workdir = tmp_path / "run"
  config = config_of(file, plots=True, seeds=(0, 1))
  result = train.run(config, workdir, evaluate_only=True)
  out = capsys.readouterr().out
  assert result["trained_steps"] == result["steps"] == 0
  expected = methods.build(config).published.read(weight_files.read_networks(file))["params"]
  assert result["params_sha256"] == checkpoints.digest(jax.tree.map(lambda x: np.stack([x, x]), expected))
  sha = pretrained.digest(file)
  assert result["protocol"]["init_from"]["sha256"] == result["config"]["init_from_sha256"] == sha
  assert "no step is taken" in out and f"all of them begin with the parameters of best.pth.tar (SHA-256 {sha[:12]}...)" in out
  table = out[out.index("Pairwise accuracy"):]
  assert f"no step was taken: these are the parameters of best.pth.tar (SHA-256 {sha[:12]}...) as they are, the same" in table
  assert "the test data may have been part of the training that made them" in table
  assert "baselines train on" in table and "models and baselines" not in table and "variant" not in table
  # stopped before its results were there, and started again
  (workdir / "results.json").unlink()
  again = train.run(config, workdir, evaluate_only=True)
  same = lambda found: {k: v for k, v in found.items() if k not in ("seconds", "cost", "command")}
  assert same(again) == same(result)
  assert len((workdir / "evaluations.jsonl").read_text().splitlines()) == 1
  assert finished_run.load(workdir).checkpoint == dict(chosen="last", step=0)


def test_the_folder_of_a_measurement_is_not_trained_in(tmp_path, file):
  train.run(config_of(file), tmp_path / "run", evaluate_only=True)
  with pytest.raises(ValueError, match="config.evaluate_only is true there and false here"):
    train.run(config_of(file), tmp_path / "run")


def test_training_begins_with_them_and_goes_on_without_the_file(tmp_path, file, capsys):
  """What is stopped and goes on ends as what never stopped does; all seeds begin with the same."""
  config = config_of(file, seeds=(0, 1))
  whole = train.run(config, tmp_path / "whole")
  out = capsys.readouterr().out
  assert whole["trained_steps"] == whole["steps"] > 0
  assert "training began with the parameters of best.pth.tar" in out and ", the same in all 2 models" in out
  first = params_of(tmp_path / "whole", 0)
  expected = traverse_util.flatten_dict(
      methods.build(config).published.read(weight_files.read_networks(file))["params"], sep="/")
  for name, leaf in expected.items():
    for start in first[name]:
      np.testing.assert_array_equal(start, leaf, err_msg=name)
  part = tmp_path / "part"
  part.mkdir()
  shutil.copy(tmp_path / "whole" / "config.json", part)
  (part / "checkpoints").mkdir()
  shutil.copytree(tmp_path / "whole" / "checkpoints" / "0", part / "checkpoints" / "0")
  hidden = shutil.move(file, tmp_path / "elsewhere")
  assert train.run(config, part)["params_sha256"] == whole["params_sha256"]
  saved(file, rank_aware(hidden=4))
  with pytest.raises(ValueError, match='another config: config.init_from_sha256 is ".* there and ".* here'):
    train.run(config, part)
  with pytest.raises(ValueError, match="another config: config.init_from is "):
    train.run(config_of(str(hidden), seeds=(0, 1)), part)
  without = train.run(config_of("", seeds=(0, 1)), tmp_path / "without")
  assert without["params_sha256"] != whole["params_sha256"] and "trained_steps" not in without


def test_a_file_that_is_gone_or_does_not_fit(tmp_path, file):
  """In a line, with the parameter, its shapes and the option; the folder stays free for the right config."""
  workdir = tmp_path / "run"
  with pytest.raises(ValueError, match="config.init_from=.*none.pth: there is no such file of weights"):
    train.run(config_of(str(tmp_path / "none.pth")), workdir)
  with pytest.raises(ValueError, match=r"filters/high/bias is of shape \[2, 3\] there and of shape \[2, 5\] here "
                     r"\(5 more differ\); give features as wide"):
    train.run(config_of(file, **{"model.hidden": 5}), workdir)
  with pytest.raises(ValueError, match="is missing there and of shape .*has the network of the option official: "
                     "--config configs/pros_cons.py:simulated,official"):
    train.run(config_of(file, "simulated", **{"model.branches": ("high", "low", "uniform", "last")}), workdir)
  with pytest.raises(ValueError, match="is of shape .* there and missing here"):
    train.run(config_of(file, **{"model.branches": ("high", "uniform")}), workdir)
  with pytest.raises(ValueError, match="it holds epoch_weights; expected state_dict_pos, state_dict_neg"):
    train.run(config_of(saved(tmp_path / "other.pt", {"epoch_weights": np.zeros(3, np.float32)})), workdir)
  assert not (workdir / "config.json").exists()


def test_a_run_is_written_as_published_code_saves_it(tmp_path, file, capsys):
  """And read again: what was trained here is measured from the file of its own export, with the same parameters."""
  trained = train.run(config_of(file, seeds=(0, 1)), tmp_path / "run")
  for command in ([], ["--model", "2"]):
    with pytest.raises(SystemExit):
      export.main(["--workdir", str(tmp_path / "run"), "--out", str(tmp_path / "out.pth"), *command])
    assert "say which one with --model NUMBER (0: fold simulated, seed 0; 1: fold" in capsys.readouterr().err
  export.main(["--workdir", str(tmp_path / "run"), "--out", str(tmp_path / "out.pth"), "--model", "1"])
  again = train.run(config_of(str(tmp_path / "out.pth"), seeds=(1,)), tmp_path / "again", evaluate_only=True)
  assert again["replicas"][0]["scores"] == trained["replicas"][1]["scores"]
  for name, leaf in params_of(tmp_path / "again", 0).items():
    np.testing.assert_array_equal(leaf[0], params_of(tmp_path / "run", trained["steps"])[name][1], err_msg=name)


def test_the_command(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(main.cli, "use_compilation_cache", lambda: None)
  file = saved(tmp_path / "best.pth.tar", rank_aware(width=8, hidden=4, filters=3))
  main.main(["--config", "configs/pros_cons.py:tiny,official", f"--config.init_from={file}", "--config.plots=False",
             "--evaluate-only", "--workdir", str(tmp_path / "run")])
  assert results_of(tmp_path / "run")["trained_steps"] == 0
  assert "step/s" not in capsys.readouterr().err


def test_what_cannot_be_measured(tmp_path, file, capsys):
  with pytest.raises(ValueError, match="config.init_from names no file of them; give --config.init_from=FILE"):
    train.run(config_of(""), tmp_path, evaluate_only=True)
  with pytest.raises(ValueError, match="config.method='skilldiff' has no published code"):
    train.run(small_config("skilldiff", "simulated", dict(init_from=file)), tmp_path)
  with pytest.raises(SystemExit):
    main.main(["--config", "configs/pros_cons_ablations.py:tiny", "--evaluate-only", f"--config.init_from={file}",
               "--workdir", str(tmp_path / "table")])
  assert "is a table of rows, each of another; give the config of the system itself" in capsys.readouterr().err


def test_what_was_read_and_measured_is_said(tmp_path, file, capsys):
  train.run(config_of(file, "simulated", **{"data.standardize": True}), tmp_path / "run", evaluate_only=True)
  out = capsys.readouterr().out
  assert "they are read as the network of the variant paper; the published code that made them has that of" in out
  assert "features are standardized here (config.data.standardize), which the published code does not do" in out
  assert "\nas they are " in out and "last step" not in out and "on test*" not in out and "chosen on" not in out


def write_features(folder, videos):
  folder.mkdir()
  for name, rows in videos.items():
    np.save(folder / f"{name}.npy", rows)
  return folder


def test_published_scores_of_published_weights(tmp_path, golden, golden_weights):
  """A network in the published sizes says of two videos what the published code said of them."""
  known = golden("raan_real")
  state = golden_weights(known)
  file = saved(tmp_path / "model_best.pth.tar", {f"state_dict_{name}": (state,) for name in ("pos", "neg", "uniform")})
  rng = np.random.Generator(np.random.PCG64(int(known["input_seed"])))
  rows = rng.standard_normal((2, 400, 1024), np.float32)
  folder = write_features(tmp_path / "mine", dict(a=rows[0], b=rows[1], c=rows[0, :5], d=rows[1, :5]))
  (folder / "pairs.csv").write_text("better,worse,split\na,b,test\nc,d,train\n")
  config = small_config("pros_cons", "features,official", {
      "data.dir": str(folder), "data.standardize": False, "model.hidden": 256, "init_from": file, "plots": False})
  found = train.run(config, tmp_path / "run", evaluate_only=True)["replicas"][0]["scores"]
  expected = 2 * known["scores"].mean(axis=1)              # the high and the low network have the same weights here
  np.testing.assert_allclose([found["a"], found["b"]], expected, rtol=0, atol=1e-5)


def with_names(listed, prefix="", seed=0):
  """Some weights under the names and shapes of a golden file."""
  shapes = {prefix + name: shape for name, shape in json.loads((GOLDEN / f"{listed}_params.json").read_text())}
  return {name: np.abs(value) if name.endswith("running_var") else value for name, value in drawn(shapes, seed).items()}


def round_trip(method, file, tmp_path):
  """Ours -> theirs -> ours, through a file of theirs; returns our variables."""
  variables = method.published.read(weight_files.read_networks(file))
  weight_files.write_networks(tmp_path / "theirs.pth", method.published.write(variables))
  again = method.published.read(weight_files.read_networks(tmp_path / "theirs.pth"))
  assert jax.tree.structure(again) == jax.tree.structure(variables)
  jax.tree.map(np.testing.assert_array_equal, again, variables)
  return variables


def test_rank_aware_round_trip(tmp_path, file):
  method = methods.build(config_of(file))
  round_trip(method, file, tmp_path)
  theirs = torch.load(tmp_path / "theirs.pth", weights_only=True)
  assert isinstance(theirs["state_dict_neg"], tuple)       # as published
  expected = rank_aware()["state_dict_neg"][0]
  assert theirs["state_dict_neg"][0].keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_array_equal(theirs["state_dict_neg"][0][name].numpy(), value, err_msg=name)
  one = methods.build(small_config("pros_cons", "simulated,official", RANK_AWARE | {"model.branches": ("both", "uniform")}))
  networks = rank_aware()
  alone = saved(tmp_path / "one.pth", dict(state_dict_att=networks["state_dict_pos"],
                                           state_dict_uniform=networks["state_dict_uniform"]))
  assert set(round_trip(one, alone, tmp_path)["params"]["filters"]) == {"both"}


@pytest.fixture(scope="module")
def comparing(tmp_path_factory):
  """CoRe's checkpoint in the published sizes: both networks within DataParallel, numbers of NumPy, an optimizer."""
  base = with_names("i3d_core", "module.backbone.") | {"module.backbone.conv3d_0c_1x1.conv3d.bias": np.ones(4, np.float32)}
  content = dict(base_model=base, regressor=with_names("core_tree_real", "module."), epoch=7, epoch_best=7,
                 rho_best=np.float64(0.95), L2_min=np.float32(9), RL2_min=np.float64(1),
                 optimizer=dict(state={0: dict(step=1, exp_avg=np.zeros(3, np.float32))}, param_groups=[dict(lr=1e-3)]))
  return saved(tmp_path_factory.mktemp("core") / "MTL_CoRe.pth", content)


def test_comparing_round_trip(tmp_path, comparing):
  on_frames = methods.build(small_config("core", "frames,official", dict(init_from=comparing)))
  variables = round_trip(on_frames, comparing, tmp_path)
  stored = with_names("i3d_core")
  np.testing.assert_array_equal(variables["constants"]["backbone"]["mixed_5c"]["branch_2b"]["mean"],
                                stored["mixed_5c.branch_2.1.batch3d.running_mean"])
  assert variables["params"]["head"]["leaves"]["kernel"].shape == (16, 1, 256)
  theirs = torch.load(tmp_path / "theirs.pth", weights_only=True)
  named = {name for name in stored if "num_batches" not in name and "conv3d_0c" not in name}
  assert {name.removeprefix("backbone.") for name in theirs["base_model"]} == named
  on_features = methods.build(small_config("core", "features,official"))
  assert set(round_trip(on_features, comparing, tmp_path)["params"]) == {"head"}
  with pytest.raises(ValueError, match="it holds regressor; expected the network base_model beside the regressor"):
    on_frames.published.read(weight_files.read_networks(tmp_path / "theirs.pth"))
  perceptron = methods.build(small_config("core", "features,official", {"model.head": "mlp"}))
  with pytest.raises(ValueError, match="its head is no tree; the published network has no other"):
    perceptron.published.write(dict(params=dict(head=dict(kernel_0=np.zeros(2)))))


def test_comparing_on_features(tmp_path, comparing, capsys):
  """The regressor alone is measured; the paper's tree has more leaves, which is said with the option that has as many."""
  rng = np.random.default_rng(0)
  folder = write_features(tmp_path / "mine", {f"v{i}": rng.normal(size=(3, 1024)).astype(np.float32) for i in range(12)})
  rows = [f"v{i},{i % 5 + i / 10},{'test' if i % 3 == 0 else 'train'}" for i in range(12)]
  (folder / "scores.csv").write_text("\n".join(["video,score,split", *rows]))
  changes = {"data.dir": str(folder), "data.standardize": False, "init_from": comparing, "plots": False,
             "model.hidden": 256, "model.exemplars.count": 2, "seeds": (0, 1)}
  with pytest.raises(ValueError, match=r"params/head/leaves/bias is of shape \[16, 1\] there and of shape \[32, 1\] "
                     "here.* option official: --config configs/core.py:features,official"):
    train.run(small_config("core", "features", changes | {"model.num_leaves": 32}), tmp_path / "run")
  result = train.run(small_config("core", "features,official", changes), tmp_path / "run", evaluate_only=True)
  assert result["trained_steps"] == 0 and "no step was taken" in capsys.readouterr().out
  trained = train.run(small_config("core", "features,official", changes | {"train.epochs": 1}), tmp_path / "trained")
  assert trained["params_sha256"] != result["params_sha256"]


def test_weights_of_the_backbone_are_given_once(comparing):
  with pytest.raises(ValueError, match="config.model.weights=random:0 and config.init_from=.*leave the former out"):
    methods.build(small_config("core", "frames,official", {"init_from": comparing, "model.weights": "random:0"}))


def test_two_streams_round_trip(tmp_path):
  """With the graph and the counts of a profiler, which the published training leaves beside the parameters."""
  state = with_names("actionnet")
  extra = dict(adj1=np.zeros((26, 26), np.float32), total_ops=np.zeros(1))
  file = saved(tmp_path / "Ball.pth", state | extra)
  method = methods.build(small_config("action_net", "rhythmic_gymnastics,official", dict(init_from=file)))
  round_trip(method, file, tmp_path)
  theirs = torch.load(tmp_path / "theirs.pth", weights_only=True)
  assert theirs.keys() == state.keys()
  for name, value in state.items():
    np.testing.assert_array_equal(theirs[name].numpy(), value, err_msg=name)
  with pytest.raises(ValueError, match="it has no streams/static/embed_1/kernel, as the published network has"):
    params = method.published.read(state)["params"]
    method.published.write(dict(params=params | dict(streams=dict(rgb=params["streams"]["rgb"]))))


def test_two_streams_are_measured(tmp_path):
  file = saved(tmp_path / "Ball.pth", with_names("actionnet"))
  rng = np.random.default_rng(0)
  folder = tmp_path / "mine"
  folder.mkdir()
  for i in range(6):
    np.savez(folder / f"v{i}.npz", rgb=rng.normal(size=(4, 1024)).astype(np.float32),
             static=rng.normal(size=(5, 2048)).astype(np.float32))
  rows = [f"v{i},{i},{'test' if i % 3 == 0 else 'train'}" for i in range(6)]
  (folder / "scores.csv").write_text("\n".join(["video,score,split", *rows]))
  config = small_config("action_net", "features,official", {
      "data.dir": str(folder), "data.standardize": False, "data.score_range": (0.0, 25.0), "init_from": file,
      "model.hidden": 0, "plots": False, "train.encode": "unique"})
  assert train.run(config, tmp_path / "run", evaluate_only=True)["trained_steps"] == 0
