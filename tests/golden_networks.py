"""What the tests of I3D and ResNet share: golden inputs by their recipe, samples of every stage."""

import numpy as np
import pytest

from tests.places import GOLDEN


def cases(file):
  return sorted({key.split("/")[0] for key in file if "/" in key})


def every_case(pattern, quick):
  """Parameters (golden file, case) of all files of a pattern; those that are not among `quick` are slow."""
  found = [(path.stem, case) for path in sorted(GOLDEN.glob(f"{pattern}.npz")) for case in cases(np.load(path).files)]
  missing = [one for one in quick if one not in found]            # which the test reports, or the fixture `golden`
  return [pytest.param(*one, marks=() if one in quick else pytest.mark.slow) for one in (*found, *missing)]


def input_of(file, case):
  """The input of a case, channels last."""
  shape = tuple(file[f"{case}/input_shape"])
  block = tuple(file.get(f"{case}/block", np.ones(len(shape), int)))
  rng = np.random.Generator(np.random.PCG64(int(file[f"{case}/input_seed"])))
  x = 2 * rng.random([n // b for n, b in zip(shape, block)], np.float32) - 1
  for axis, times in enumerate(block):
    x = np.repeat(x, times, axis)
  np.testing.assert_array_equal(x.ravel()[:16], file[f"{case}/input_head"])
  sums = [x.sum(dtype=np.float64), np.abs(x).sum(dtype=np.float64)]
  np.testing.assert_allclose(sums, file[f"{case}/input_fingerprint_f64"], rtol=1e-10)
  return np.moveaxis(x, 1, -1)


def check_stages(file, prefix, stages, tolerance):
  """Stages of one clip or frame, channels last, against the samples of a file; returns how many were compared."""
  compared = 0
  for name, value in stages.items():
    key = f"{prefix}/{name}"
    if f"{key}/shape" not in file:
      continue
    value = np.moveaxis(np.asarray(value[0]), -1, 0)
    assert value.shape == tuple(file[f"{key}/shape"])[-value.ndim:], name
    mean, mean_abs = file[f"{key}/mean_absmean_f64"]
    np.testing.assert_allclose(value.ravel()[file[f"{key}/idx"]], file[f"{key}/val"], rtol=0, atol=tolerance * mean_abs,
                               err_msg=name)
    np.testing.assert_allclose(value.mean(dtype=np.float64), mean, rtol=0, atol=1e-5 * mean_abs, err_msg=name)
    compared += 1
  return compared


def assert_close(value, expected, tolerance=1e-5):
  """In relative L2."""
  value, expected = np.float64(value), np.float64(expected)
  assert value.shape == expected.shape
  assert np.linalg.norm(value - expected) <= tolerance * np.linalg.norm(expected)
