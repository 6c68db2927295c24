"""Made-up sets in the form of Rehab-Pile: movements whose jerk and speed tell their score or class."""

import json

import numpy as np

FRAMES, JOINTS, NUMBERS = 12, 3, 2


def movements(skill, seed):
  """`[n, JOINTS x NUMBERS, FRAMES]`: the greater the skill, the wider and the smoother."""
  rng = np.random.default_rng(seed)
  times = np.linspace(0, 2 * np.pi, FRAMES)
  wave = (1 + skill[:, None, None]) * np.sin(times + rng.uniform(0, 1, (len(skill), JOINTS * NUMBERS, 1)))
  return wave + 0.2 * rng.normal(size=wave.shape)


def write_info(folder, **fields):
  info = dict(length_TS=FRAMES, n_joints=JOINTS, dim=NUMBERS) | fields
  text = json.dumps({name: value for name, value in info.items() if value is not None})
  (folder / "info.json").write_text(text[:-1] + ", }")               # with the comma that files of the archive have


def save(file, array, objects=False):
  if objects:                                                            # as `np.save` of a list that NumPy keeps so
    array, items = np.empty(len(array), object), list(array)
    array[:] = items
  np.save(file, array, allow_pickle=objects)


def write_set(root, name, labels, folds=3, seed=0, objects=False, **fields):
  """Writes a set; fold k tests every movement whose number is k modulo `folds`, in another order in every fold.

  Returns:
    (`[n, ...]` movements, [(training, test) numbers of each fold]).
  """
  kind = "regression" if "_reg_" in name else "classification"
  folder = root / kind / name
  folder.mkdir(parents=True)
  write_info(folder, **fields | (dict(max_score_value=10) if kind == "regression" else {}))
  words = labels.dtype.kind == "U"
  skill = np.unique(labels, return_inverse=True)[1].astype(float) if words else labels / labels.max()
  x, sides = movements(skill, seed), []
  for k in range(folds):
    order = np.random.default_rng(k).permutation(len(x))
    sides.append((order[order % folds != k], order[order % folds == k]))
    (folder / f"fold{k}").mkdir()
    for side, ids in zip(("train", "test"), sides[-1]):
      save(folder / f"fold{k}" / f"x_{side}_fold{k}.npy", x[ids], objects)
      save(folder / f"fold{k}" / f"y_{side}_fold{k}.npy", labels[ids].astype(object) if objects else labels[ids, None],
           objects)
  return x, sides


def write_archive(root, count=18):
  """Writes a set of scores, one of two and one of three classes, and the list of them; returns `root`."""
  number = np.arange(count)
  write_set(root, "KIMORE_reg_Sq", np.linspace(1, 9, count))
  write_set(root, "KINECAL_clf_bn_GGFV", number // 3 % 2, seed=1)
  write_set(root, "KERAAL_clf_mc_CTK", np.array(["C", "E1", "E2"])[number // 3 % 3], seed=2, objects=True)
  entries = dict(classification=[["KINECAL_clf_bn_GGFV", 3], ["KERAAL_clf_mc_CTK", 3], ["SPHERE_clf_bn_WUS", 6]],
                 regression=[["KIMORE_reg_Sq", 3]])
  (root / "DeepRehabPileForExperiments.json").write_text(json.dumps(entries))
  return root
