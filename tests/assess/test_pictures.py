"""Pictures of answers: each changes with its data, says in words what it shows, and shows the moments that decided."""

import pathlib
import types
import warnings

import matplotlib.text
import numpy as np
import pytest

from jaxskill.assess import pictures
from jaxskill.report import drawing, explain, wording
from tests.report.test_wording import HOSTILE

MEANINGS = {"high attention": dict(words="moments that speak for skill", side=1),
            "low attention": dict(words="moments that speak against skill", side=-1),
            "distribution": dict(words="lower on the left, higher on the right", side=0)}
ROWS = 10


def answered(kind, duration=20.0, seed=0, **changed):
  """(what `explain.answer` says of a video, its heat maps, their seconds), by random numbers."""
  rng = np.random.default_rng(seed)
  edges = np.linspace(0, duration, ROWS + 1)
  result = dict(video="v", random_weights=False, simulated=True, tested=True, training_videos=60, ranked=True,
                score=0.5, spread=0.1, models=[dict(percentile=75.0)] * 3, meanings=MEANINGS, duration_s=duration,
                attention={}, curves={}, segments=[], moments=[],
                row_times=dict(start=edges[:-1].tolist(), end=edges[1:].tolist()))
  line = lambda values: dict(start=edges[:-1].tolist(), end=edges[1:].tolist(), values=values.tolist())
  maps, seconds = {}, {}
  if kind == "attention":
    result["attention"] = {f"{name} attention": line(rng.dirichlet(np.ones(ROWS))) for name in ("high", "low")}
  if kind == "segments":
    parts = lambda: [dict(start=float(a), end=float(b), score=float(s), importance=float(i)) for a, b, s, i in zip(
        edges[:-1:2], edges[2::2], rng.uniform(size=5), rng.dirichlet(np.ones(5)))]
    result |= dict(segments=parts(), curves={"timing offset": line(rng.uniform(size=ROWS))}, references=[dict(
        video="expert", score=9.0, segments=parts(), duration_s=duration, seconds=np.sort(rng.uniform(0, duration, ROWS)).tolist())])
  if kind == "maps":
    maps, seconds = {"attention": rng.dirichlet(np.ones(9), 12).reshape(12, 3, 3)}, {"attention": np.arange(12.0)}
  if kind == "distribution":
    result["distribution"] = {f"level {n}": dict(places=np.arange(2.0 ** n).tolist(), probabilities=rng.dirichlet(
        np.ones(2 ** n)).tolist()) for n in (1, 2)}
  shown = types.SimpleNamespace(maps={name: one[None] for name, one in maps.items()},
                                rows={name: np.arange(len(one))[None] for name, one in maps.items()})
  result["moments"] = explain.moments(result, shown, seconds)
  return result | changed, maps, seconds


def video(seconds=None):
  """A video of 200 frames over 20 s, each of which is as bright as its number; without frames by default."""
  if seconds is None:
    return types.SimpleNamespace(frames=None, shown=True, file=pathlib.Path("v.npy"))
  frames = np.broadcast_to(np.arange(200, dtype=np.uint8)[:, None, None, None], (200, 12, 16, 3))
  times = np.linspace(0, seconds, 200, endpoint=False)
  return types.SimpleNamespace(frames=(frames, times), shown=True, file=pathlib.Path("v.mp4"))


@pytest.fixture
def figures(monkeypatch):
  """The figures that are drawn, in place of their files."""
  drawn, save = [], drawing.save
  monkeypatch.setattr(drawing, "save", lambda figure, path: drawn.append(figure) or save(figure, path))
  return drawn


def texts(figure):
  return [artist.get_text() for artist in figure.findobj(matplotlib.text.Text)]


def time_axes(figure):
  return [axis for axis in figure.axes if axis.get_xlabel() == "time [m:ss.s]"]


@pytest.mark.parametrize("kind, names", [("attention", ["attention"]), ("segments", ["segments", "alignment"]),
                                         ("maps", ["maps"]), ("distribution", ["frames", "distribution"])])
def test_every_picture_changes_with_its_data(tmp_path, kind, names):
  contents = []
  for seed in (0, 0, 1):
    result, maps, seconds = answered(kind, seed=seed)
    paths = pictures.draw(tmp_path, video(20.0), result, maps, seconds)
    assert [path.stem for path in paths] == names and sorted(p.name for p in tmp_path.iterdir()) == sorted(
        f"{name}.png" for name in names)
    contents.append([path.read_bytes() for path in paths])
  for name, first, again, other in zip(names, *contents):
    assert first == again and (first != other or name == "frames")                 # of which no moment is known
  by_video = [pictures.draw(tmp_path, video(20.0), answered(kind, score=score)[0], maps, seconds)[-1].read_bytes()
              for score in (0.5, 0.6)]
  assert by_video[0] != by_video[1]


def test_every_curve_of_attention_is_drawn(tmp_path, figures):
  """Against the middle of its axes, in multiples of an even share, whatever the moments are."""
  result, maps, seconds = answered("attention", moments=[])
  pictures.draw(tmp_path, video(), result, maps, seconds)
  axis, = time_axes(figures[0])
  drawn = {line.get_label(): line.get_xydata() for line in axis.lines}
  for name, line in result["attention"].items():
    points = drawn[f"{MEANINGS[name]['words']} ({name})"]
    assert len(points) == ROWS and (np.diff(points[:, 0]) > 0).all() and 0 <= points[0, 0] and points[-1, 0] <= 20.0
    np.testing.assert_allclose(points[:, 1], ROWS * np.array(line["values"]), rtol=1e-6)
    low, high = axis.get_ylim()
    assert low <= points[:, 1].min() and points[:, 1].max() <= high


@pytest.mark.parametrize("kind", ["attention", "segments", "maps", "distribution"])
def test_two_videos_are_drawn_by_the_same_scales(tmp_path, figures, kind):
  (first, heat, seconds), (second, other_heat, _) = answered(kind), answered(kind, duration=8.0, seed=3)
  heats = [(heat, seconds), (other_heat, seconds)]
  extra = dict(alignment=np.linspace(0, 8, ROWS).tolist()) if kind == "segments" else {}
  keys = [explain.key_moments(one) for one in (first, second)]
  videos = [video(20.0), video(8.0)]
  pictures.draw_comparison(tmp_path / "two.png", videos, [first, second], heats, extra, "title", keys)
  figure, = figures
  assert "title" in texts(figure)
  if kind == "maps":
    limits = {image.get_clim() for axis in figure.axes for image in axis.images if image.get_cmap().name == "autumn"}
    assert limits == {(0, max(heat["attention"].max(), other_heat["attention"].max()))}
  elif kind in ("attention", "segments"):
    axes = time_axes(figure)
    assert {axis.get_xlim() for axis in axes} == {(0, 20.0)}
    assert axes[0].get_ylim() == axes[1].get_ylim()
  if kind == "attention":
    curves = [line.get_ydata() for axis in axes for line in axis.lines if line.get_label().startswith("moments")]
    assert len(curves) == 4 and np.max(curves) < axes[0].get_ylim()[1]
    np.testing.assert_allclose(np.mean(curves, axis=1), 1)
  if kind == "segments":
    colors = [{tuple(c.get_colors()[0]) for c in axis.collections} for axis in axes[:2]]
    assert all(colors)


def test_an_alignment_without_segments_is_drawn(tmp_path, figures):
  """Of two videos and of a reference; the offset is of their durations."""
  (first, *heat), (second, *other_heat) = answered("distribution"), answered("distribution", duration=8.0, seed=3)
  aligned = np.sort(np.random.default_rng(1).uniform(0, 8, ROWS)).tolist()
  keys = [explain.key_moments(one) for one in (first, second)]
  pictures.draw_comparison(tmp_path / "two.png", [video(), video()], [first, second], [heat, other_heat],
                           dict(alignment=aligned), "title", keys)
  reference = dict(video="expert", score=9.0, segments=[], duration_s=8.0, seconds=aligned)
  paths = pictures.draw(tmp_path, video(), first | dict(references=[reference]), *heat)
  assert tmp_path / "alignment.png" in paths
  middles = (np.arange(ROWS) + 0.5) / ROWS
  for figure in figures[:2]:
    below, = (axis for axis in figure.axes if axis.get_xlabel() and axis.lines)
    np.testing.assert_allclose(below.lines[0].get_ydata(), np.array(aligned) / 8.0 - middles)
    assert below.get_xlim() == (0, 20.0) and "score of a part" not in texts(figure)


def test_key_moments_are_where_it_was_decided():
  result, _, _ = answered("attention")
  keys = explain.key_moments(result)
  for name, side in (("high attention", 1), ("low attention", -1)):
    line = result["attention"][name]
    at = (line["start"][np.argmax(line["values"])] + line["end"][np.argmax(line["values"])]) / 2
    key, = [key for key in keys if key["at"] == pytest.approx(at, abs=0.05)]
    assert key["sides"][side] == MEANINGS[name]["words"] and key["decided"]
  assert [key["at"] for key in keys] == sorted(key["at"] for key in keys) and 2 <= len(keys) <= explain.KEYS
  peaks = {round(one["peak"], 1) for one in result["moments"]}
  assert {key["at"] for key in keys} == peaks
  few = explain.key_moments(result, 2)
  assert len(few) == 2 and {side for key in few for side in key["sides"]} == {1, -1}        # the first of each kind
  none = explain.key_moments(result | dict(moments=[]), 4)
  assert [key["at"] for key in none] == [2.5, 7.5, 12.5, 17.5] and not any(key["decided"] for key in none)


def test_segments_decide_by_score_and_weight():
  parts = [dict(start=float(n), end=n + 1.0, score=score, importance=weight) for n, (score, weight) in enumerate(
      [(1.0, 0.01), (5.0, 0.3), (3.0, 0.3), (9.0, 0.3), (4.0, 0.09)])]
  found = explain.decisive(parts)
  total = sum(one["importance"] * one["score"] for one in parts)
  raised = [one for one in found if one["side"] == 1]
  assert [one["start"] for one in raised] == [3.0] and raised[0]["effect"] == pytest.approx(0.3 * (9.0 - total))
  lowered = [one["start"] for one in found if one["side"] == -1]
  assert lowered == [2.0, 1.0, 4.0]               # and not the lowest score, which counts one percent
  assert explain.decisive([dict(start=0.0, end=1.0, score=2.0, importance=0.5)] * 2) == explain.decisive([]) == []


def test_the_frames_shown_are_those_of_the_key_moments(tmp_path, figures):
  result, maps, seconds = answered("attention")
  pictures.draw(tmp_path, video(20.0), result, maps, seconds)
  shown = [axis for axis in figures[0].axes if axis.images]
  keys = explain.key_moments(result)
  bright = [int(axis.images[0].get_array()[0, 0, 0]) for axis in shown]
  assert bright == pytest.approx([10 * key["at"] for key in keys], abs=1)
  for axis, key in zip(shown, keys):
    assert axis.get_title().startswith(wording.clock(key["at"]))
    assert ("for" in axis.get_title()) == (1 in key["sides"])
    assert ("against" in axis.get_title()) == (-1 in key["sides"])
    assert axis.get_aspect() == 12 / 16                                            # as it was filmed
  heat, maps, seconds = answered("maps")
  pictures.draw(tmp_path, video(20.0), heat, maps, seconds)
  titles = [axis.get_title() for axis in figures[1].axes]
  narrow = np.sort(np.argsort(-maps["attention"].max(axis=(1, 2)))[: explain.KEYS])
  assert titles == [wording.clock(seconds["attention"][number]) for number in narrow]


@pytest.mark.parametrize("kind", ["attention", "segments", "maps", "frames"])
def test_a_picture_says_what_it_shows(tmp_path, figures, kind):
  result, maps, seconds = answered(kind, tested=False)
  pictures.draw(tmp_path, video(20.0), result, maps, seconds)
  said = " ".join(texts(figures[0])).replace("\n", " ")
  assert wording.LEGENDS[kind] in said
  assert "SIMULATED DATA, NOT TESTED" in said and "v: above 75 % of the 60 training videos; rank score 0.5" in said
  assert (wording.LEGENDS["keys"] in said) == (kind in ("attention", "segments"))
  if kind == "attention":
    assert {"moments that speak for skill (high attention)", "moments that speak against skill (low attention)"} == {
        text.get_text() for axis in figures[0].axes if axis.get_legend() for text in axis.get_legend().get_texts()}
  if kind == "segments":
    assert wording.LEGENDS["alignment"] in " ".join(texts(figures[1])).replace("\n", " ")


def test_without_frames_no_pictures_are_spoken_of(tmp_path, figures):
  for file in ("v.npy", "gone.mp4"):
    asked = types.SimpleNamespace(frames=None, shown=True, file=tmp_path / file)
    pictures.draw(tmp_path, asked, *answered("attention"))
    assert wording.LEGENDS["keys"][:9] not in " ".join(texts(figures[-1])) and not figures[-1].axes[0].images
    assert pictures.draw(tmp_path, asked, *answered("frames")) == []
  for asked, seen in ((video(20.0), True), (asked, False)):
    pictures.draw(tmp_path, asked, *answered("attention", moments=[]))
    said = " ".join(texts(figures[-1])).replace("\n", " ")
    assert wording.LEGENDS["none"] in said and (wording.LEGENDS["even"] in said) == seen
    assert wording.LEGENDS["shaded"][:7] not in said and wording.LEGENDS["keys"][:9] not in said


def test_a_video_that_may_not_be_shown_is_not(tmp_path, figures):
  """As --videos none asks for."""
  hidden = video(20.0)
  hidden.shown = False
  assert pictures.frames(hidden, [1.0]) == [] and len(pictures.frames(video(20.0), [1.0])) == 1
  pictures.draw(tmp_path, hidden, *answered("attention"))
  assert not figures[-1].axes[0].images


@pytest.mark.parametrize("name", ["$\\frac{1}{$", "a$_{b$", "two\n\x1b[31mlines\udcff", "日本語\u202e😀🧑‍⚕️", "x" * 250])
def test_a_name_is_drawn_as_text(tmp_path, figures, name, caplog):
  """Nothing in it is mathematics or a control character, and no font is asked for what it has not."""
  result, maps, seconds = answered("segments", video=name)
  result["references"][0]["video"] = name
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    paths = pictures.draw(tmp_path, video(), result, maps, seconds)
  assert len(paths) == 2 and not caplog.records
  known = frozenset().union(*drawing.fonts().values())
  for figure in figures:
    for text in texts(figure):
      assert all(ord(c) in known for c in text.replace("\n", ""))
  if name.isascii() and name.isprintable() and len(name) < 40:
    assert name in "".join(texts(figures[0]))


def test_every_name_is_drawn_as_text(tmp_path):
  figure, axis = drawing.plt.subplots(figsize=(12, 12))
  drawn = [axis.text(0, number, name) for number, name in enumerate(HOSTILE)]
  for number, name in enumerate(HOSTILE):
    axis.plot([number], [number], label=f"curve {name}")
  axis.legend()
  axis.set(ylim=(0, len(HOSTILE)), title=HOSTILE[0], xlabel=HOSTILE[1])
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    drawing.save(figure, tmp_path / "names.png")
  known = frozenset().union(*drawing.fonts().values())
  for text, name in zip(drawn, HOSTILE):
    assert text.get_parse_math() is False and all(ord(c) in known for c in text.get_text().replace("\n", ""))
    if name.isascii() and name.isprintable():
      assert text.get_text() == name


def test_times_on_an_axis_have_the_one_form():
  for duration, labels in ((3.0, ["0:00.0", "0:00.5"]), (65.0, ["0:00.0", "0:10.0"]), (5400.0, ["0:00.0", "10:00.0"])):
    figure, axis = drawing.plt.subplots()
    drawing.time_axis(axis, duration)
    figure.canvas.draw()
    assert [label.get_text() for label in axis.get_xticklabels()][:2] == labels and axis.get_xlim() == (0, duration)
    drawing.plt.close(figure)


def test_a_picture_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
  figure = drawing.plt.figure()

  def fails(file, **_):
    file.write(b"half")
    raise OSError("no space left")
  monkeypatch.setattr(figure, "savefig", fails)
  with pytest.raises(OSError):
    drawing.save(figure, tmp_path / "a.png")
  assert not list(tmp_path.iterdir()) and not drawing.plt.fignum_exists(figure.number)
