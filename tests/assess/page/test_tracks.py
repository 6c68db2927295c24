"""Curves, segments and heat maps on the time axis of a page."""

import base64

import numpy as np
import pytest

from jaxskill import written
from jaxskill.assess import page
from jaxskill.assess.page import tracks
from tests.assess.page import samples
from tests.assess.page.reading import Read

pytest.importorskip("jinja2", reason="Jinja2 is not installed: pip install '.[page]'")
pytest.importorskip("av", reason="PyAV is not installed: pip install '.[video]'")


def test_rows_of_uneven_length_stand_where_they_are(tmp_path, film):
  """On the axis of the curve against a reference, and where two players keep step."""
  uneven = dict(row_times=dict(start=[0.0, 6.0], end=[6.0, 8.0]))
  reference = dict(video="r", score=80.0, models=2, seconds=[1.0, 1.5], segments=[], duration_s=2.0)
  *_, ahead = tracks.curves(samples.answer(references=[reference], **uneven))
  assert ahead["start"] == [0.0, 6.0] and ahead["values"] == [0.5 - 3 / 8, 0.75 - 7 / 8]
  both = samples.answer("a", **uneven), samples.answer("b")
  path = page.of_comparison(written.Record(tmp_path), samples.comparison(*both, [1.0, 5.0]),
                            [samples.material(film)] * 2, "none", "a is better", "")
  assert Read(path).data["alignment"] == dict(better=[3.0, 7.0], other=[1.0, 5.0])


def test_small_values_and_gaps_of_curves_are_kept():
  values = [1e-7, 2.34567e-7, float("nan"), 3e-7]
  line = dict(start=[0.0, 2.0, 4.0, 6.0], end=[2.0, 4.0, 6.0, 8.0], values=values)
  drawn = tracks.curves(samples.answer(attention={}) | dict(curves={"small": line}))[-1]
  assert drawn["values"] == [1e-7, 2.346e-7, pytest.approx(np.nan, nan_ok=True), 3e-7] and drawn["high"] == 3e-7
  assert drawn["path"].count("M") == 2 and "nan" not in drawn["path"]
  assert len(tracks.thinned(*np.arange(2000.0).reshape(2, 1000), np.full(1000, np.nan))[2]) <= tracks.POINTS


def test_peaks_stay_where_curves_are_thinned():
  values = np.zeros(50_000)
  values[12_345], values[40_000] = 3.0, -2.0
  edges = np.arange(50_001.0)
  start, end, drawn = tracks.thinned(edges[:-1], edges[1:], values)
  assert len(drawn) <= tracks.POINTS and drawn.max() == 3.0 and drawn.min() == -2.0
  assert start[drawn.argmax()] == 12_345 and end[-1] == 50_000 and (start[1:] == end[:-1]).all()


def test_heat_maps_are_bytes_of_one_scale():
  maps = np.array([[[0.0, 0.5], [1.0, 0.25]], [[2.0, 0.0], [0.0, 0.0]]])
  one, = tracks.heat(dict(places=maps), dict(places=np.array([0.5, 1.5])), dict(meanings=samples.MEANINGS))
  assert list(base64.b64decode(one["values"])) == [0, 64, 128, 32, 255, 0, 0, 0] and one["seconds"] == [0.5, 1.5]
