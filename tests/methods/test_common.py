"""What holds for every method: one result however a step is computed, the same bits after a stop, answers and pictures.

The methods are found, so a new one is tested by being there; so is the variant "official" of a config that has it. What
a method computes is tested in the file of its name.
"""

import contextlib
import dataclasses
import functools
import importlib
import json
import re
import signal
import unittest

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxskill import compare, data, files, methods, train
from jaxskill.data import Fold
from jaxskill.report import plots
from jaxskill.training import replicas
from jaxskill.training.parallel import Parallel
from tests.assess.own_videos import QUICK, SIZES, SYSTEMS
from tests.assess.own_videos import trained as run_of
from tests.conftest import small_config
from tests.known_programs import Known

METHODS = methods.names()
SIAMESE, STREAMED = {"train.encode": "siamese"}, {"data.device_budget": 0.0}
FORMS = {          # of the step: changes of the config, devices, all models at once or, as the variant, one after the other
    "padded, streamed, siamese": (SIAMESE | STREAMED, 1, True),
    "on eight": ({}, 8, False),
    "padded, streamed to eight": (STREAMED, 8, True),
}


def has_variant(method, option):
  try:
    importlib.import_module(f"configs.{method}").get_config(f"simulated,{option}")
  except ValueError:
    return False
  return True


VARIANTS = [(method, "simulated") for method in METHODS] + [
    (method, f"simulated,{option}") for option in ("official", "pairs") for method in METHODS if has_variant(method, option)]
# Methods that others are compared with, whose own files test them quickly. Of the rest one variant each is quick, with
# the steps of all kinds: joint and half ones, which leave gradients to the next, of pairs and of scores. How Pros & Cons'
# own default is computed, in all forms, is tested in training/test_step.py.
COMPETITORS = ("lstm", "ms_lstm", "usdl", "whos_better")
QUICK_VARIANTS = [(method, "simulated,official" if method == "pros_cons" else "simulated")
                  for method in METHODS if method not in COMPETITORS]


def either(slow, *values, name):
  """The parameters of a test, which is slow or not."""
  return pytest.param(*values, marks=[pytest.mark.slow] * slow, id=name)


def variants(slow):
  """Every variant, of which some are slow."""
  return pytest.mark.parametrize("variant", [either(variant in slow, variant, name="-".join(variant))
                                             for variant in VARIANTS], indirect=True)


SOME = "core", "skilldiff"           # dot products, and a recurrence
ON_EIGHT = "core", "skilldiff"      # and Pros & Cons in training/test_step.py; SkillDiff's loss reads the whole batch
OTHERS = [variant for variant in VARIANTS if variant not in QUICK_VARIANTS]
most_methods = pytest.mark.parametrize("method", [
    either(method in COMPETITORS, method, name=method) for method in METHODS])
most_variants = variants(slow=OTHERS)
some_variants = variants(slow=OTHERS + [variant for variant in QUICK_VARIANTS if variant[0] not in SOME])
every_form = pytest.mark.parametrize("variant, form", [
    either(variant in OTHERS or form == "padded, streamed to eight" and variant[0] != "core"
           or form == "on eight" and variant[0] not in ON_EIGHT, variant, form,
           name="-".join((*variant, form))) for variant in VARIANTS for form in FORMS], indirect=["variant"])


ONE_STEP = {"train.steps_per_call": 1}


def make_config(method, options="simulated", changes=None):
  """A config of two seeds and, where a method learns from scores, two criteria."""
  config = small_config(method, options, SIZES.get(method, {}) | {
      "data.simulated.vary_length": True, "data.standardize": True, "plots": False, "seeds": (0, 3), "train.epochs": 3,
      "train.steps_per_call": 2, "train.encode": "unique"} | (changes or {}))
  if "criteria" in config.data and "data.criteria" not in (changes or {}) and "pairs" not in options:
    config.data.criteria = "score", "style"
  return config


def make_dataset(config):
  """The simulated videos of a config, every other one harder, in two folds of unequal size, with a second criterion."""
  dataset = data.load(config.data)
  harder = np.arange(dataset.num_videos) % 2
  first, = dataset.folds
  kept = first.train_videos[:-3]
  inside = np.isin(dataset.pairs[first.train_pairs], kept).all(axis=1)
  second = Fold("smaller", kept, first.test_videos, first.train_pairs[inside], first.test_pairs)
  low, high = dataset.score_range.min(), dataset.score_range.max()
  style = np.random.default_rng(0).uniform(low, high, dataset.num_videos).astype(np.float32)
  return dataclasses.replace(dataset, folds=(first, second), criteria=dict(style=style),
                             category=np.array(["easy", "hard"])[harder], difficulty=np.float32([2.0, 3.0])[harder])


def padded(dataset):
  """The same videos in longer streams, whatever stands behind the real rows."""
  rng, longer = np.random.default_rng(9), {}
  for name, stream in dataset.streams.items():
    rows = stream.shape[1]
    longer[name] = rng.normal(size=(len(stream), rows + 5, *stream.shape[2:])).astype(stream.dtype)
    real = np.arange(rows) < dataset.lengths[name][:, None]
    longer[name][:, :rows][real] = stream[real]
  return dataclasses.replace(dataset, streams=longer, row_times={})


@contextlib.contextmanager
def nothing_compiles():
  with jax.log_compiles(), unittest.TestCase().assertNoLogs("jax", "WARNING"):
    yield


def ready(config, dataset, devices=1, at_once=0, like=None):
  """A trainer after its first call, which traces the encoding of each phase once for its shapes and once to be run.

  It begins with the parameters of the trainer `like`, if there is one, whose program is there.
  """
  traced, build, make = [], methods.build, train.make_step

  def counted(config):
    made = build(config)
    return made._replace(encode=lambda *arguments: traced.append(1) or made.encode(*arguments))
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(methods, "build", counted)
    if like:
      patch.setattr(train, "make_step", lambda *given, **sizes: make(*given, **sizes)._replace(init=lambda *_: start_of(like)))
    trainer = train.Trainer(config, dataset, Parallel(devices), at_once=at_once)
  trainer.advance()
  assert 0 < len(traced) <= 2 * len(trainer.method.phases)
  return trainer


def start_of(trainer):
  return trainer.step.init(trainer.tables.keys, trainer.loader.sample(), trainer.experiment.constants())


def finished(trainer):
  """The trainer at its end: the calls after the first find all compiled."""
  assert trainer.per_call < trainer.total
  with nothing_compiles():
    while int(trainer.state.step) < trainer.total:
      trainer.advance()
  return trainer


def trained(*arguments):
  """A trainer at its end."""
  return finished(ready(*arguments))


@dataclasses.dataclass
class Trained:
  """A config, its data, a trainer at its end, and what the optimiser remembered after its first call."""
  configure: object
  dataset: object
  trainer: object
  answers: object
  first: object


@pytest.fixture(scope="module", autouse=True)
def few_optimisations():
  """These programs run for a moment."""
  jax.config.update("jax_disable_most_optimizations", True)
  yield
  jax.config.update("jax_disable_most_optimizations", False)
  variant_of.cache_clear()


@functools.cache
def variant_of(method, option):
  configure = functools.partial(make_config, method, option)
  config = configure(changes=ONE_STEP)
  dataset = make_dataset(config)
  trainer = ready(config, dataset)
  first = jax.tree.map(np.array, moments_of(trainer.state))
  trainer.measure()
  finished(trainer)
  with nothing_compiles():
    trainer.measure()
  return Trained(configure, dataset, trainer, trainer.assess(everything=True), first)


@pytest.fixture
def variant(request):
  """A variant of a method, trained on one device in calls of a step a phase, each video of a step encoded once."""
  return variant_of(*request.param)


def flat(tree):
  return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(x)
          for path, x in jax.tree_util.tree_leaves_with_path(tree)}


def moments_of(state):
  """{phase: (gradients as the optimiser remembers them, {} or their squares)}, each {parameter: array}."""
  remembers = lambda part: hasattr(part, "mu") or hasattr(part, "trace")
  found = {}
  for name in filter(str.isdigit, state.opt_state):
    moments, = [part for part in jax.tree.leaves(state.opt_state[name], is_leaf=remembers) if remembers(part)]
    found[name] = (flat(moments.mu), flat(moments.nu)) if hasattr(moments, "mu") else (flat(moments.trace), {})
  return found


def assert_states_close(actual, expected, replica=None, tolerance=5e-5):
  """Gradients as the optimiser remembers them, and parameters wherever Adam did not step on rounding noise alone.

  Softmax ignores a shift of its logits and a margin one of both scores, so some gradients are zero but for rounding. A
  few are so in the first step alone, which is then as long as any, but to either side.
  """
  pick = (lambda x: x[[replica]]) if replica is not None else np.asarray
  ours, theirs, compared, strayed = flat(actual.params), flat(expected.params), 0, 0
  assert ours.keys() == theirs.keys()
  mine = moments_of(actual)
  for phase, (first, second) in moments_of(expected).items():
    for name, value in first.items():
      close = functools.partial(np.testing.assert_allclose, rtol=0, err_msg=name)
      close(pick(mine[phase][0][name]), value, atol=tolerance * max(1.0, np.abs(value).max()))
      real = second[name] > 1e-11 if second else np.full(value.shape, True)
      apart = np.abs(pick(ours[name]) - theirs[name])[real]
      np.testing.assert_array_less(apart, 0.02, name)                       # two steps
      strayed += (apart > tolerance * max(1.0, np.abs(theirs[name]).max())).sum()
      compared += real.sum()
  assert strayed <= 2 + compared // 1000
  assert compared > 0.3 * sum(value.size for value in theirs.values())


def assert_answers_close(actual, expected, replica=None):
  pick = (lambda x: x[[replica]]) if replica is not None else np.asarray
  ours, theirs = flat(actual), flat(expected)
  assert ours.keys() == theirs.keys()
  for name, value in theirs.items():
    real = tuple(map(slice, value.shape))                                    # none but that of padding
    np.testing.assert_allclose(pick(ours[name])[real], value, rtol=1e-3, atol=1e-3, err_msg=name)


# The step


@most_variants
def test_shapes_and_finite_numbers(variant):
  """Every parameter is trained by some phase; all numbers of the state and of the answers are finite float32."""
  trainer, count, videos = variant.trainer, len(variant.trainer.replicas), variant.dataset.num_videos
  before, after = flat(start_of(trainer).params), flat(trainer.state.params)
  moved = [name for name, value in after.items() if not np.array_equal(value, before[name])]
  assert len(moved) > 0.7 * len(after)                        # the rest are biases that a loss has no use for
  for name, value in after.items():
    assert any(re.search(phase.trains, name) for phase in trainer.method.phases), name
    assert value.dtype == np.float32 and len(value) == count and value.shape == before[name].shape, name
  for name, value in (flat(trainer.state) | flat(variant.answers)).items():
    assert np.isfinite(np.asarray(value, np.float64) if value.dtype.kind != "O" else 0).all(), name
  for name, value in flat(variant.answers).items():
    assert value.shape[:2] == (count, videos), name
  scores, parts = trainer.assess()[:2]
  np.testing.assert_array_equal(scores, variant.answers.score)
  assert parts.keys() == variant.answers.parts.keys()
  assert np.ptp(scores, axis=1).min() > 0                     # no video like any other


@every_form
def test_one_result_however_it_is_computed(variant, form):
  """Siamese, streamed, on eight devices, in longer streams, all models at once: the same gradients and answers."""
  changes, devices, together = FORMS[form]
  dataset = padded(variant.dataset) if form.startswith("padded") else variant.dataset
  count = len(variant.trainer.replicas)
  other = trained(variant.configure(changes=changes), dataset, devices, count if together else 0, variant.trainer)
  assert (variant.trainer.at_once, other.at_once) == (1, count if together else 1)
  assert other.loader.resident == ("data.device_budget" not in changes)
  assert_states_close(other.state, variant.trainer.state)
  assert_answers_close(other.assess(everything=True), variant.answers)
  with nothing_compiles():
    other.assess(everything=True)


@some_variants
def test_a_replica_equals_a_run_of_its_own(variant):
  """Folds of unequal size, seeds, criteria: each trains as if it were alone."""
  together = variant.trainer
  assert len(set(together.tables.count.tolist())) == 2 and len({r.seed for r in together.replicas}) == 2
  index = len(together.replicas) - 1                          # of the second fold, criterion and seed
  replica = together.replicas[index]
  changes = {"seeds": (replica.seed,)} | ({"data.criteria": (replica.criterion,)} if "criteria" in together.config.data else {})
  folds = variant.dataset.folds[replica.fold: replica.fold + 1]
  alone = trained(variant.configure(changes=changes), dataclasses.replace(variant.dataset, folds=folds))
  assert_states_close(together.state, alone.state, replica=index, tolerance=2e-4)
  np.testing.assert_allclose(variant.answers.score[index], alone.assess().score[0], atol=1e-3)
  for name, value in flat(together.state.params).items():
    if value.ndim > 2:
      assert len({one.tobytes() for one in value}) == len(value), name          # no two have trained alike


@pytest.mark.parametrize("method, dtype", [
    either(method in COMPETITORS or dtype == "float32" and method != "core", method, dtype, name=f"{method}-{dtype}")
    for method in METHODS for dtype in ("float32", "bfloat16")])
def test_lowers_for_accelerators(method, dtype, monkeypatch, nothing_drawn):
  """In the form that they get; products of bfloat16 are there where the config says so, and only there."""
  config = make_config(method, changes={"train.dtype": dtype})
  dataset = make_dataset(config)
  trainer = train.Trainer(config, dataset, Parallel(1), at_once=len(replicas.plan(config, dataset)))
  function, given = trainer.first_call()
  for platform, name in dict(tpu="tpu", cuda="gpu").items():
    monkeypatch.setattr(jax, "default_backend", lambda name=name: name)
    function.clear_cache()                                    # of what was traced for the other
    text = function.trace(*given).lower(lowering_platforms=(platform,)).as_text()
    assert ("bf16" in text) == (dtype == "bfloat16"), platform


@some_variants
def test_gradients_in_bfloat16(variant, monkeypatch):
  """The first gradients of every parameter are near those in float32, and not the same.

  XLA for CPUs lacks some products of bfloat16, so rounded operands are multiplied in float32: the same numbers.
  """
  einsum = jnp.einsum
  monkeypatch.setattr(jnp, "einsum", lambda spec, *operands, **options: einsum(
      spec, *(x.astype(jnp.float32) for x in operands), **options))
  clips = variant.trainer.config.train.get("clip_norm")         # would hide a factor of all gradients
  unclipped = ONE_STEP | ({"train.clip_norm": 0.0} if clips else {})

  def first(dtype):
    config = variant.configure(changes=unclipped | {"train.dtype": dtype})
    return moments_of(ready(config, variant.dataset, like=variant.trainer).state)
  exact, rough = first("float32") if clips else variant.first, first("bfloat16")
  for phase, (gradients, _) in exact.items():
    most, differ = max(np.linalg.norm(value) for value in gradients.values()), False
    for name, value in gradients.items():
      found = rough[phase][0][name]
      assert found.dtype == np.float32, name
      np.testing.assert_array_less(np.linalg.norm(found - value), 0.15 * np.linalg.norm(value) + 0.03 * most, name)
      differ |= not np.array_equal(found, value)
    assert differ


# A run


@most_methods
def test_a_stopped_run_ends_in_the_same_bits(method, quick_training, tmp_path, monkeypatch):
  Known().patch(monkeypatch)                                  # the run that goes on has the programs of the stopped one
  run = run_of(method)

  class StopAtOnce(train.StopSignal):
    def __enter__(self):
      super().__enter__().number = signal.SIGTERM
      return self
  config = small_config(method, "simulated", QUICK | SIZES.get(method, {}))
  with monkeypatch.context() as patch:
    patch.setattr(train, "StopSignal", StopAtOnce)
    with pytest.raises(train.Stopped):
      train.run(config, tmp_path, run.dataset)
  resumed = train.run(config, tmp_path, run.dataset)
  for key in ("params_sha256", "rows", "replicas"):
    assert files.to_json(resumed[key]) == files.to_json(run.results[key]), key        # undefined numbers are null there


@pytest.mark.parametrize("method", [     # of systems quick in assess/test_scoring.py and test_compare.py; a new one is here
    either(method in COMPETITORS or method in SYSTEMS, method, name=method) for method in METHODS])
def test_assess_and_compare_say_what_the_run_says(method, quick_training, coarse_pictures, tmp_path):
  """Of two test videos, from their features alone."""
  run = run_of(method)
  first, second = run.dataset.folds[0].test_videos[:2]
  files, names = [run.save(video) for video in (first, second)], [run.dataset.videos[video] for video in (first, second)]
  results, failed = run.assess(*files, out=tmp_path / "one")
  assert not failed
  for name in names:
    expected = [replica["scores"][name] for replica in run.results["replicas"]]
    np.testing.assert_allclose([model["score"] for model in results[name]["models"]], expected, rtol=1e-5, atol=1e-6)
    assert results[name]["pictures"]
  both = compare.run(run.workdir, out=tmp_path / "two", features=files, labels=run.labels, say=lambda line: None)
  better, worse = sorted(names, key=lambda name: -results[name]["score"])
  assert (both["better"], both["worse"]) == (better, worse)
  assert both["difference"] == pytest.approx(results[better]["score"] - results[worse]["score"], abs=1e-4)


# Pictures


def pictures_of(folder, trainer, history, answers, left_out=()):
  """{name: bytes} of the pictures of a run, but for those of every method that are left out."""
  said = []
  with pytest.MonkeyPatch.context() as patch:
    for name in left_out:
      patch.setattr(plots, {"training": "_curves", "scores": "_scores"}[name], lambda *_: plots.plt.figure(figsize=(1, 1)))
    paths = plots.draw(folder, trainer.experiment, history, answers, said.append)
  assert not said
  return {path.stem: path.read_bytes() for path in paths if path.stem not in left_out}


def spoilt(answers, kind, video=slice(None)):
  """Answers with other numbers of one kind, of all videos or of one."""
  def other(value):
    value = np.array(value)
    value[:, video] = np.roll(value[:, video], 1, axis=-1) ** 2 + 0.1
    return value
  if kind == "score":
    return answers._replace(score=answers.score * 1.5)
  if kind == "segments":                  # each row stays in its segment
    return answers._replace(segments={name: value if name == "number" else other(value)
                                      for name, value in answers.segments.items()})
  return answers._replace(**{kind: jax.tree.map(other, getattr(answers, kind))})


@most_methods
def test_every_picture_changes_with_its_data(method, tmp_path, coarse_pictures):
  """And with what it is a picture of alone, of either video that it shows: axes that are blank but for titles do not."""
  known = variant_of(method, dict(QUICK_VARIANTS).get(method, "simulated"))
  trainer, answers = known.trainer, known.answers
  history = [dict(step=1, replicas=[dict(test=0.5, validation=0.4)] * len(trainer.replicas))]
  (tmp_path / "metrics.jsonl").write_text(json.dumps(dict(step=1, loss=[0.5], accuracy=[0.5])) + "\n")
  before = pictures_of(tmp_path, trainer, history, answers)
  kinds = [kind for kind in ("attention", "segments", "maps", "alignment", "distribution") if jax.tree.leaves(getattr(answers, kind))]
  changed = {"training"}
  history[0]["replicas"][0]["test"] = 0.7
  after = pictures_of(tmp_path, trainer, history, answers)
  assert {name for name in before if after[name] != before[name]} == changed
  history[0]["replicas"][0]["test"] = 0.5
  test = trainer.dataset.folds[0].test_videos
  for kind in kinds:
    drawn, extreme = None, answers.score[0][test]
    if kind == "distribution":                                # of the videos of the least and of the largest error
      extreme = np.abs(extreme - trainer.dataset.labels(trainer.replicas[0].criterion)[test])
    for video in (test[pick(extreme)] for pick in (np.argmax, np.argmin)):
      after = pictures_of(tmp_path, trainer, history, spoilt(answers, kind, video), ("training", "scores"))
      found = {name for name, picture in after.items() if picture != before[name]}
      assert drawn in (None, found), (kind, "one of the two videos is not drawn")
      drawn = found
    changed |= drawn
  after = pictures_of(tmp_path, trainer, history, spoilt(answers, "score"))
  assert after["training"] == before["training"]
  assert all(after[name] != before[name] for name in before if name != "training")
  assert changed | {"scores"} >= before.keys()                # which shows scores alone
