"""Processes that decode: what they may say, in which order, and what happens when they do not."""

import itertools
import multiprocessing
import multiprocessing.connection
import os
import random
import signal
import threading
import time
import types

import numpy as np
import pytest

from jaxskill.assess import new_videos
from jaxskill.data.video import frames
from jaxskill.extract import decoders, feature_files, kinds, local
from tests.data.video.test_decoding import encode
from tests.extract import slow_decoding
from tests.extract.test_extraction import recipe


def test_a_decoder_that_dies_costs_one_video(tmp_path):
  files = {"long": str(encode(tmp_path / "long.mp4", np.arange(300) / 10)),
           "a": str(encode(tmp_path / "a.mp4", np.arange(40) / 10))}
  coming, seen = decoders.Decoders(files, recipe(length=9), None, 1, 60.0), {}
  for name, kind, content in coming:
    if not seen:
      next(iter(coming.decoders.values())).process.kill()
    seen.setdefault(name, []).append((kind, content))
  assert seen["long"][-1][0] == "failed" and "the decoder died" in seen["long"][-1][1]
  assert [kind for kind, _ in seen["a"]] == ["planned", "items", "done"]


def test_a_decoder_that_stands_still_is_replaced(tmp_path, monkeypatch):
  path = encode(tmp_path / "a.mp4", np.arange(40) / 10)
  monkeypatch.setattr(decoders, "STARTING", 1.0)
  coming = decoders.Decoders({"a": str(path)}, recipe(length=9), None, 1, patience=1.0)
  os.kill(next(iter(coming.decoders.values())).process.pid, signal.SIGSTOP)
  monkeypatch.setattr(decoders, "STARTING", 60.0)
  assert [kind for _, kind, _ in coming] == ["planned", "items", "done"]       # by the one that took its place


def _ends(connection, config, persons):
  connection.close()


def test_processes_that_do_not_start_are_not_started_for_ever(tmp_path, monkeypatch):
  monkeypatch.setattr(decoders, "_work", _ends)
  with pytest.raises(ValueError, match=r"the processes that decode videos do not start \(the decoder died\)"):
    list(decoders.Decoders({"a": str(tmp_path / "a.mp4")}, recipe(length=9), None, 1, 60.0))


class Speaker:
  """In place of a process: a thread that says, for every video it is given, the messages of a script."""

  pid = 0

  def __init__(self, target, args, daemon, script=None):
    del target, daemon
    self._connection = multiprocessing.connection.Connection(os.dup(args[0].fileno()))
    self._script, self._thread = script, threading.Thread(target=self._speak, daemon=True)

  def start(self):
    self._thread.start()

  def _speak(self):
    try:
      for message in self._script[None]:
        self._connection.send(message)
      for video, _ in iter(self._connection.recv, None):
        for message in self._script[video]:
          self._connection.send(message)
        if not any(kind in ("done", "failed") for _, kind, _ in self._script[video]):
          break                                              # dies in the middle
    except (OSError, EOFError):
      pass
    self._connection.close()

  def join(self, timeout):
    self._thread.join(timeout)

  def kill(self):
    pass


def speakers(monkeypatch, script):
  """Lets threads speak in place of processes."""
  context = types.SimpleNamespace(Pipe=multiprocessing.Pipe,
                                  Process=lambda **arguments: Speaker(**arguments, script=script))
  monkeypatch.setattr(decoders.multiprocessing, "get_context", lambda _: context)


def said_of(number, streams=("rgb",), rows=5, batch=2):
  """What a decoder says of the video of a number: all its items are of its number and row."""
  name, messages = f"v{number}", [("planned", {stream: (rows, 1) for stream in streams})]
  for stream, first in itertools.product(streams, range(0, rows, batch)):
    items = np.array([[100 * number + row] for row in range(first, min(first + batch, rows))], np.float32)
    messages.append(("items", (stream, first, items[..., None, None, None])))
  messages.append(("done", dict(row_seconds=dict.fromkeys(streams, 1.0), warnings=[],
                                times=dict.fromkeys(streams, np.arange(rows)))))
  return [(name, *message) for message in messages]


def run_here(monkeypatch, tmp_path, script, videos, processes, streams=("rgb",)):
  """({video: why it failed}, {video: what was noted}) of an extraction that hears a script."""
  speakers(monkeypatch, script)
  config, noted = recipe("action_net" if len(streams) > 1 else "action_net:rgb"), {}
  encode = {stream: lambda items: items.reshape(len(items), 1) for stream in config.streams}
  failed = local._run_here(config, {video: video for video in videos}, tmp_path, encode, None, noted.__setitem__,
                           processes, 60.0)
  return failed, noted


def check_files(tmp_path, noted, streams=("rgb",), rows=5):
  """Every file holds its own rows, all of them; there are no others."""
  assert {file.stem for file in tmp_path.iterdir()} == noted.keys()
  for file in tmp_path.iterdir():
    arrays = dict(rgb=np.load(file)) if file.suffix == ".npy" else dict(np.load(file))
    for stream in streams:
      np.testing.assert_array_equal(arrays[stream][:, 0], 100 * int(file.stem[1:]) + np.arange(rows))


def mutated(messages, rng):
  """(messages in another order or number, whether the video must still end well)."""
  messages, kind = list(messages), rng.choice([
      "well", "alive", "lost", "twice", "swapped", "foreign", "ready", "early", "odd", "after", "dies", "failed"])
  place, name = rng.randrange(len(messages) - 1), messages[0][0]
  if kind == "alive":
    for _ in range(5):
      messages.insert(rng.randrange(len(messages)), (name, "alive", None))
  elif kind == "lost":
    del messages[place]
  elif kind == "twice":
    messages.insert(place, messages[place])
  elif kind == "swapped":
    other = rng.choice([i for i in range(len(messages)) if i != place])
    messages[place], messages[other] = messages[other], messages[place]
  elif kind == "foreign":
    messages.insert(place, said_of(99)[rng.randrange(3)])
  elif kind == "ready":
    messages.insert(place, (None, "ready", None))
  elif kind == "early":
    messages.insert(place, messages[-1])
  elif kind == "odd":
    messages.insert(place, (name, rng.choice(["again", "", None, 5]), None))
  elif kind == "after":
    messages.append(rng.choice(messages))                    # said when the process is at the next one
  elif kind == "dies":
    del messages[place + 1:]
  elif kind == "failed":
    messages[place + 1:] = [(name, "failed", "is damaged.")]
  # the plan said twice in a row begins anew: nothing is lost
  return messages, kind in ("well", "alive", "after") or (kind == "twice" and place == 0)


@pytest.mark.parametrize("processes", [1, 3])
def test_every_order_of_messages(tmp_path, monkeypatch, processes):
  """Whatever decoders say: a file holds the rows of its own video, all of them, or is not written."""
  for seed in range(150):
    rng, out = random.Random(seed), tmp_path / str(seed)
    out.mkdir()
    streams = ("rgb", "static") if seed % 3 == 0 else ("rgb",)
    script, well = {None: [(None, "ready", None)]}, set()
    for number in range(6):
      script[f"v{number}"], good = mutated(said_of(number, streams), rng)
      well |= {f"v{number}"} if good else set()
    ends = [[kind for _, kind, _ in messages[:-1]] for video, messages in script.items() if video]
    after = any({"done", "failed"} & set(kinds) for kinds in ends)       # what comes after an end costs the next one
    failed, noted = run_here(monkeypatch, out, script, [video for video in script if video], processes, streams)
    assert failed.keys() | noted.keys() == script.keys() - {None} and not failed.keys() & noted.keys()
    check_files(out, noted, streams)
    assert after or noted.keys() == well, (seed, failed, well)


@pytest.mark.parametrize("first", [[], [("v0", "alive", None)], [(None, "alive", None)], [("v0", "done", None)],
                                   [(None, "ready", None)] * 2])
def test_the_first_message_is_ready(tmp_path, monkeypatch, first):
  """One that says anything else at first is replaced; after three the run ends."""
  script = {None: first, "v0": said_of(0)}
  if len(first) < 2:
    with pytest.raises(ValueError, match="do not start .(the decoder died|the decoder spoke out of turn)"):
      script[None] = first or [("v0", "items", None)]
      run_here(monkeypatch, tmp_path, script, ["v0"], 1)
  else:
    failed, noted = run_here(monkeypatch, tmp_path, script, ["v0"], 1)
    assert "spoke out of turn ('ready' of None)" in failed["v0"] and not noted
  assert not list(tmp_path.iterdir())


def test_a_sign_of_life_hands_nothing_on(tmp_path, monkeypatch):
  """A sign of life in the middle of a video is not its end: the next one's file had its rows."""
  script = {None: [(None, "ready", None)], "v0": said_of(0), "v1": said_of(1)}
  script["v0"].insert(2, ("v0", "alive", None))
  failed, noted = run_here(monkeypatch, tmp_path, script, ["v0", "v1"], 1)
  assert not failed and noted.keys() == {"v0", "v1"}
  check_files(tmp_path, noted)


class Killed(decoders.Decoders):
  """Decoders of which one is killed now and then."""

  rng = random.Random(0)
  share = 0.0

  def __iter__(self):
    for message in super().__iter__():
      if self.rng.random() < self.share and self.decoders:
        self.rng.choice(list(self.decoders.values())).process.kill()
      yield message


ENCODE = dict(static=lambda items: items.reshape(len(items), -1))      # features are the pictures themselves


def slow_films(tmp_path, monkeypatch, count, seconds, size, nap, alive):
  """(config, {video: file}, {video: rows, one by one and not slowly}) of films of different content and length."""
  config, out = recipe("action_net:static"), tmp_path / "one"
  config.streams.static.update(region="frame", batch=3)
  config.streams.static.sampling.update(fps=5.0)
  (tmp_path / "films").mkdir()
  files = {f"v{number}": str(slow_decoding.film(tmp_path / "films" / f"v{number}.mp4", number, seconds(number), size))
           for number in range(count)}
  for video, file in files.items():
    features = feature_files.Features(config, ENCODE, out, video)
    local.extraction.decode_one(file, video, config, None, features.take)
    assert features.about, features.failed
  for name, value in {slow_decoding.NAP: nap, slow_decoding.ALIVE: alive}.items():
    monkeypatch.setenv(name, str(value))
  monkeypatch.setattr(decoders, "_work", slow_decoding.work)
  monkeypatch.setattr(decoders, "Decoders", Killed)
  return config, files, {video: np.load(out / f"{video}.npy") for video in files}


def check_slow_films(tmp_path, monkeypatch, config, files, expected, processes, kills):
  """Extracts, while decoders are killed, then what failed; compares all bits."""
  out = tmp_path / f"out{processes}{kills}"
  assert len({rows.tobytes() for rows in expected.values()}) == len(files)
  noted, todo = {}, files
  for share in (kills, 0.0) if kills else (0.0,):
    monkeypatch.setattr(Killed, "share", share)
    failed = local._run_here(config, todo, out, ENCODE, None, noted.__setitem__, processes, 60.0)
    assert failed.keys() | noted.keys() == files.keys() and not failed.keys() & noted.keys()
    assert all(why.startswith("the decoder died") for why in failed.values()) and (share or not failed)
    assert {file.stem for file in out.iterdir()} == noted.keys()
    for video in noted:
      found = np.load(out / f"{video}.npy")
      assert found.shape == expected[video].shape and found.tobytes() == expected[video].tobytes()
      assert noted[video]["rows"] == len(found)
    todo = {video: files[video] for video in failed}


@pytest.mark.parametrize("processes,kills", [(2, 0.02), pytest.param(1, 0.0, marks=pytest.mark.slow),
                                             pytest.param(4, 0.02, marks=pytest.mark.slow)])
def test_slow_decoding(tmp_path, monkeypatch, processes, kills):
  """Ten films, also when decoders are killed: bit for bit as one by one."""
  films = slow_films(tmp_path, monkeypatch, 10, lambda number: 1 + number * 7 % 5 / 2, (64, 48), nap=0.002, alive=0.0)
  check_slow_films(tmp_path, monkeypatch, *films, processes, kills)


def test_answers_for_films_that_are_decoded_slowly(tmp_path, monkeypatch):
  """The way of assess and compare: every video has its own features."""
  config, _, expected = slow_films(tmp_path, monkeypatch, 4, lambda number: 1 + number, (64, 48), nap=0.002, alive=0.0)
  origin = dict(weights="random:0", weights_sha256="", random_weights=True)
  kind = kinds.VIDEO._replace(load=lambda *_: (None, origin), encoders=lambda *_: ENCODE)
  monkeypatch.setattr(kinds, "VIDEO", kind)
  run = types.SimpleNamespace(about=dict(extraction=config.to_dict() | origin, published=""), workdir=tmp_path / "run")
  films, extraction = [tmp_path / "films"], new_videos.Extraction(weights="random:0")
  found, failed, notes = new_videos._extracted(run, films, extraction, tmp_path / "answers", lambda _: None)
  assert not failed and found.keys() == expected.keys() == notes.keys()
  for video, file in found.items():
    np.testing.assert_array_equal(np.load(file), expected[video])


def test_films_that_threads_decode_slowly(tmp_path, monkeypatch):
  """The frames that training reads: every video has its own."""
  sources = {f"v{number}": frames.Source(slow_decoding.film(tmp_path / f"v{number}.mp4", number, 2 + number % 5))
             for number in range(20)}
  sampling = frames.Sampling(count=16, size=(32, 32))
  one_by_one = {video: np.load(frames.prepare({video: source}, tmp_path / "one", sampling)[0][video].file)
                for video, source in sources.items()}
  pictures_at = frames.videos_of.pictures_at

  def slowly(*arguments):
    for picture in pictures_at(*arguments):
      time.sleep(random.random() / 500)
      yield picture
  monkeypatch.setattr(frames.videos_of, "pictures_at", slowly)
  ready, failed = frames.prepare(sources, tmp_path / "together", sampling)
  assert not failed and len({rows.tobytes() for rows in one_by_one.values()}) == 20
  for video, rows in one_by_one.items():
    np.testing.assert_array_equal(np.load(ready[video].file), rows)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("kills", [0.0, 0.05])
def test_slow_decoding_at_full_size(tmp_path, monkeypatch, processes, kills):
  """The same, each film slower than a sign of life."""
  films = slow_films(tmp_path, monkeypatch, 20, lambda number: 4 + number * 7 % 5, (640, 480), nap=0.25, alive=5.0)
  check_slow_films(tmp_path, monkeypatch, *films, processes, kills)


@pytest.mark.slow
def test_a_long_film_beside_a_short_one(tmp_path):
  """Slow by size alone: 75 s of large noise beside 4 s."""
  (tmp_path / "films").mkdir()
  slow_decoding.film(tmp_path / "films" / "a.mp4", 0, 75, (1280, 960), rate=25)
  slow_decoding.film(tmp_path / "films" / "b.mp4", 1, 4, rate=25)
  config = recipe("action_net:static")
  config.streams.static.update(region="frame")
  config.streams.static.sampling.update(fps=0.5)
  note = local.run(config, tmp_path / "films", tmp_path / "out", "random:0", processes=1)
  assert not note["failed"] and note["videos"]["a"]["rows"] == 37 and note["videos"]["b"]["rows"] == 2
  local.run(config, tmp_path / "films" / "b.mp4", tmp_path / "alone", "random:0", processes=1)
  np.testing.assert_array_equal(np.load(tmp_path / "out" / "b.npy"), np.load(tmp_path / "alone" / "b.npy"))
