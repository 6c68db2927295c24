"""Every video arrives once, whole and under its own number, resident or streamed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxskill import train
from jaxskill.training import draws
from jaxskill.training.batches import VideoLoader, as_maps, as_rows, channel_statistics, channel_sums
from jaxskill.training.parallel import Parallel

FOLDS = ((range(2, 9), (9, 10)), ((1, 3, 5), (0,)))


def make_loader(dataset, devices=1, budget=0.5, dtype="float32", **options):
  return VideoLoader(dataset, dataset.folds, Parallel(devices), streams=("rgb",), dtype=dtype, budget=budget,
                     labels=dict(score=dataset.score), **options)


def assert_videos(actual, dataset, ids, padded):
  """Those of `ids`, in their order, then empty ones."""
  assert len(actual["position"]) == padded
  features = np.zeros((padded, *dataset.streams["rgb"].shape[1:]), np.float32)
  features[:len(ids)] = dataset.streams["rgb"][ids]
  np.testing.assert_array_equal(actual["rgb"], features)
  np.testing.assert_array_equal(actual["lengths"]["rgb"], [*dataset.lengths["rgb"][ids], *[1] * (padded - len(ids))])
  np.testing.assert_array_equal(actual["position"], [*ids, *[0] * (padded - len(ids))])
  np.testing.assert_array_equal(actual["labels"]["score"], [*dataset.score[ids], *[0] * (padded - len(ids))])
  assert actual["position"].dtype == actual["lengths"]["rgb"].dtype == np.int32


def whole(videos, parallel):
  """Undoes `Parallel.split`."""
  join = lambda x: x.reshape(-1, *x.shape[2:]) if parallel.count > 1 else x
  return jax.tree.map(lambda x: join(np.asarray(x)), videos)


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("budget", [0.5, 0.0])
def test_all_videos(make_dataset, devices, budget):
  dataset = make_dataset(folds=FOLDS)
  loader = make_loader(dataset, devices, budget)
  assert loader.train.tolist() == [1, 2, 3, 4, 5, 6, 7, 8] and loader.resident == (budget > 0)
  seen = []
  for ids, videos in loader.all_videos(loader._parallel.padded(3)):
    padded = loader._parallel.padded(len(ids) if loader.resident else 3)
    assert_videos(whole(videos, loader._parallel), dataset, ids, padded)
    seen += ids.tolist()
  assert seen == [1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 10]
  if loader.resident:
    assert_videos(whole(loader.videos, loader._parallel), dataset, loader.train, 8)
  else:
    assert loader.videos is None


def test_where_every_video_trains(make_dataset):
  loader = make_loader(make_dataset(folds=((range(11), (0, 1)),)))
  assert [ids.tolist() for ids, _ in loader.all_videos(4)] == [list(range(11))]


def test_local_numbers_and_sample(make_dataset):
  dataset = make_dataset(folds=FOLDS)
  loader = make_loader(dataset, devices=8)
  pairs = dataset.pairs[dataset.folds[1].train_pairs]
  local = loader.local(pairs)
  assert local.dtype == np.int32
  np.testing.assert_array_equal(loader.train[local], pairs)
  assert_videos(loader.sample(), dataset, [1], 1)


def streamed(dataset, loader, size):
  """(draw of four steps of two phases at a time, cycles of the steps 2 to 8, asked: what was drawn)."""
  pairs = loader.local(dataset.pairs[dataset.folds[0].train_pairs])
  table = draws.Tables(pairs[None], np.array([len(pairs)], np.int32), np.array([7], np.int32),
                       jax.vmap(jax.random.key)(jnp.zeros(1, jnp.uint32)))
  draw, asked = jax.jit(lambda first: draws.draw_batches(table, first, 4, 3, 3)), []

  def noted(step):
    asked.append(step)
    return draw(step)
  return draw, loader.stream(noted, 2, 8, 2, size), asked


@pytest.mark.parametrize("devices,size", [(1, 6), (1, 8), (8, 8)])
def test_stream(make_dataset, devices, size):
  """Every step gets the videos that it names, numbered anew, in the order of the steps; alone or with its cycle's."""
  dataset = make_dataset(folds=FOLDS)
  loader = make_loader(dataset, devices, budget=0.0)
  draw, stream, asked = streamed(dataset, loader, size)
  received = 0
  for first, (videos, batches) in zip((2, 4, 6), stream, strict=True):
    expected = jax.tree.map(lambda x: x[:2], draw(first))
    np.testing.assert_array_equal(batches.mask, expected.mask)
    assert len(videos) == (2 if size < len(loader.train) else 1) and batches.items.dtype == np.int32
    for phase, items in enumerate(expected.items):
      share = whole(videos[phase % len(videos)], loader._parallel)
      named = np.unique(items if len(videos) > 1 else expected.items)
      assert_videos(share, dataset, loader.train[named], size)
      np.testing.assert_array_equal(share["position"][batches.items[phase]], loader.train[items])
    received += 1
  assert received == 3 and asked == [2, 6]


@pytest.mark.parametrize("devices,size", [(1, 6), (1, 8), (2, 8)])
def test_streaming_takes_the_memory_of_two_cycles(make_dataset, devices, size):
  """On the host, and on the devices; a single CPU computes with the host's memory, without a copy."""
  dataset = make_dataset(folds=FOLDS)
  loader = make_loader(dataset, devices, budget=0.0)
  _, stream, _ = streamed(dataset, loader, size)
  of_host, made, others = loader._room, [], jax.live_arrays()             # of other tests
  loader._room = lambda size: made.append(of_host(size)) or made[-1]
  groups, before = 2 if size < len(loader.train) else 1, None
  for videos, _ in stream:
    loader._reader.submit(int).result()                                   # the next cycle is there too
    alive = [x for x in jax.live_arrays() if x.shape[-3:] == (size // devices, *dataset.streams["rgb"].shape[1:])
             and not any(x is other for other in others)]
    assert 1 <= len(alive) <= 2 * groups and not videos[0]["rgb"].is_deleted()
    assert before is None or before["rgb"].is_deleted() and before["position"].is_deleted()
    before = videos[0]
    if devices == 1:
      assert before["rgb"].unsafe_buffer_pointer() in [room["rgb"].ctypes.data for room in made]
  assert len(made) == 2 * groups


def test_an_error_while_reading_ahead_is_raised(make_dataset):
  loader = make_loader(make_dataset(), budget=0.0)
  batches = draws.Batches(np.zeros((1, 1, 2, 2), np.int32), np.ones((1, 1, 2), bool))

  def draw(step):
    if step:
      raise OSError("the disk is gone")
    return batches
  stream = loader.stream(draw, 0, 3, 1, 1)
  next(stream)
  with pytest.raises(OSError, match="the disk is gone"):
    next(stream)


def test_dtypes_and_bytes(make_dataset):
  dataset = make_dataset()
  size = dataset.streams["rgb"].size
  assert make_loader(dataset).bytes == 4 * size and make_loader(dataset, devices=8).bytes == 4 * size // 8
  half = make_loader(dataset, dtype="bfloat16")
  assert half.bytes == 2 * size and half.videos["rgb"].dtype == jnp.bfloat16
  np.testing.assert_array_equal(half.videos["rgb"], dataset.streams["rgb"][half.train].astype(jnp.bfloat16))
  frames = np.random.default_rng(0).integers(0, 256, (11, 12, 2, 2, 3), np.uint8)
  frames_loader = make_loader(make_dataset(streams=dict(rgb=frames)), dtype="bfloat16")
  assert frames_loader.bytes == frames.size and frames_loader.videos["rgb"].dtype == np.uint8
  np.testing.assert_array_equal(frames_loader.videos["rgb"], frames[:8])


@pytest.mark.parametrize("shape,rows", [((4, 128), (4, 128)), ((4, 2, 3, 256), (24, 256)), ((8, 4, 4, 3), (8, 4, 4, 3))])
def test_maps_are_kept_as_rows(shape, rows):
  x = np.random.default_rng(0).normal(size=(3, *shape))
  kept = as_rows(x)
  assert jax.tree.leaves(kept)[0].shape == (3, *rows)
  np.testing.assert_array_equal(as_maps([kept])[0], x)
  taken = jax.tree.map(lambda x: x[np.array([2, 0])], kept)       # as a step takes its videos
  np.testing.assert_array_equal(as_maps(taken), x[[2, 0]])


def test_the_budget_is_a_share_of_the_memory(make_dataset, monkeypatch):
  dataset = make_dataset()
  monkeypatch.setattr(Parallel, "memory_bytes", lambda self: 8 * dataset.streams["rgb"].size)
  assert make_loader(dataset, budget=0.5).resident and not make_loader(dataset, budget=0.499).resident


def test_unknown_stream(make_dataset):
  dataset = make_dataset()
  with pytest.raises(ValueError, match="random: there is no stream 'flow', only rgb; set config.data.stream to one of"):
    VideoLoader(dataset, dataset.folds, Parallel(1), streams=("flow",), dtype="float32", budget=0.5)


def test_channel_statistics(make_dataset):
  """Over the real rows of the given videos, each row once; a constant channel is left as it is."""
  features = 3 + np.random.default_rng(0).normal(size=(11, 12, 4)).astype(np.float32)
  features[..., 2] = 7.0
  dataset = make_dataset(streams=dict(rgb=features))
  ids = [0, 4, 7]
  rows = np.concatenate([features[v, :dataset.lengths["rgb"][v]] for v in ids]).astype(np.float64)
  result = channel_statistics(dataset, ids, ("rgb",))["rgb"]
  expected = rows.std(axis=0)
  expected[2] = 1
  np.testing.assert_allclose(result["mean"], rows.mean(axis=0), rtol=1e-6)
  np.testing.assert_allclose(result["scale"], expected, rtol=1e-6)
  assert result["mean"].dtype == result["scale"].dtype == np.float32


def test_channel_sums_of_frames_are_counted():
  frames = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), np.uint8)
  for ours, expected in zip(channel_sums(frames), channel_sums(frames.astype(np.float32)), strict=True):
    np.testing.assert_array_equal(ours, expected)


def test_a_trainer_reads_on_between_calls_and_asks_for_more_when_it_is_done(quick_compile, load_config, make_dataset):
  """The memory of videos takes others when the step is over, not when it has been handed to the devices."""
  trainer, events = train.Trainer(load_config(changes={"data.device_budget": 0.0}), make_dataset(), Parallel(1)), []
  read, phases = trainer.loader._cycles, len(trainer.method.phases)

  class State:
    """Of a step that still runs."""

    def __init__(self, step):
      self.step = step

    def block_until_ready(self):
      events.append("done")

  def cycles(draw, first, *rest):
    events.append(first)
    for cycle in read(draw, first, *rest):
      events.append("read")
      yield cycle

  def run(state, *_):
    events.append("runs")
    return State(state.step + phases), ({"loss": (np.zeros((1, 1)), np.ones((1, 1)))},) * phases

  trainer.loader._cycles, trainer.step, trainer.state = cycles, trainer.step._replace(run_batches=run), State(0)
  for _ in range(2):
    trainer.take(phases)
  once = ["read", "runs", "done"]
  assert events == [0, *once, *once]
  trainer.state = State(0)                   # as if resumed
  trainer.take(phases)
  assert events[7:] == [0, *once]
