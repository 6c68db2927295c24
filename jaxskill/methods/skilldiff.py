"""SkillDiff: a score from differences to expert performances, each aligned with the performance in time.

A shared encoder turns rows of features into embeddings. A query is aligned with each of M references, the best training
videos of its activity, by soft-DTW (Sec. 3.2). Every row of the query is compared with what the reference shows at that
place of the action: H perceptrons read both embeddings, their difference, and the absolute relative timing offset
(Sec. 3.3). K segments of equal duration get a score each; the mean of these by importance is the score (Sec. 3.4), and
that is averaged over the references. Where scores are known, all of the loss of Sec. 3.5 is taken; where pairs are, its
ranking and its alignment.

V videos, T rows of a query, S of a reference, D channels, E of an embedding, A of a direction, P hidden units and F
outputs of all heads, K segments, M references, B items of a batch. Scores lie between 0 and 1 inside; answers are in
the unit of the labels.

Reference: SkillDiff, preprint 2026; "Sec." below are its sections. It has no published code and leaves much open; what
was filled in is a field of the config, with its reason in configs/skilldiff.py. No figure of it is relied upon.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxskill.data import exemplars
from jaxskill.data.dataset import Fold, SkillDataset
from jaxskill.methods import RANKED_REFERENCES, REFERENCES, Assessment, Meaning, Method, Phase, Tree
from jaxskill.methods.common import check_scores, hinge, in_order, operand_type, score_range
from jaxskill.modules.differential_encoder import TINY, Encoder, Heads, Rows
from jaxskill.modules.soft_dtw import TemporalAlignment, pairwise_squared_distance
from jaxskill.modules.soft_dtw.layer import FREE_ENDS
from jaxskill.modules.soft_dtw.layer import KINDS as ALIGNMENTS

DIFFERENCES = ("heads", "rows", "none")             # what a row says beside a reference, see `build`
LABELS = ("scores", "pairs")
FORMS = ("auto", "kernel", "scan", "checkpointed")


def segment_of(rows: int, length: jax.Array, count: int) -> jax.Array:
  """Returns `[rows]` number of the segment that each row is in, `count` of equal duration; the last has padding too."""
  return jnp.minimum(jnp.arange(rows) * count // length, count - 1)


def average(values: jax.Array, known: jax.Array) -> jax.Array:
  """Returns the mean of `[M, ...]` values over the references that are `known` `[M]`; 0 without any."""
  return jnp.tensordot(known.astype(jnp.float32), values, 1) / jnp.maximum(known.sum(), 1)


def contrastive_loss(directions: jax.Array, length: jax.Array, window: float, margin: float) -> jax.Array:
  """Returns the loss that keeps embeddings of one video apart: near in time, near in space, and far from far.

  Both halves are means by the weights of the paper, the squared distance in time plus one, or one over it, so that the
  loss does not depend on the length.

  Args:
    directions: `[T, A]` what is aligned; length: [] real rows.
    window: rows are near that are at most this share of the length apart, or neighbours.
    margin: squared distance that rows farther apart should keep.

  Returns:
    [] loss, 0 for a single row.

  Reference: Haresh et al., Learning by Aligning Videos in Time, CVPR 2021, Contrastive-IDM.
  """
  rows = jnp.arange(len(directions))
  apart = jnp.abs(rows[:, None] - rows)
  real = (rows < length) & (rows[:, None] < length) & (apart > 0)
  near = apart <= jnp.maximum(window * length, 1)
  distance = pairwise_squared_distance(directions, directions)
  weight = 1.0 + apart ** 2

  def mean(values: jax.Array, weights: jax.Array) -> jax.Array:
    return jnp.sum(values * weights) / jnp.maximum(jnp.sum(weights), TINY)
  pulled = mean(distance, jnp.where(real & near, 1 / weight, 0.0))
  return pulled + mean(jnp.maximum(margin - distance, 0.0), jnp.where(real & ~near, weight, 0.0))


@dataclasses.dataclass(frozen=True, eq=False)
class Differences:
  """The networks of a config, what they say of a video beside its references, and the loss of a batch.

  Attributes:
    config: whole; `model` is a group of it.
    stream: whose rows are compared.
    encoder, heads: networks with parameters; align: of rows, without any.
  """

  config: ConfigDict
  stream: str
  encoder: Encoder
  heads: Heads | Rows
  align: TemporalAlignment

  @property
  def model(self) -> ConfigDict:
    """Returns `config.model`."""
    return self.config.model

  @property
  def scored(self) -> bool:
    """Returns whether it learns from scores; else it learns from pairs."""
    return self.config.loss.labels == "scores"

  @property
  def band(self) -> int | None:
    """Returns how many rows apart rows may be that are aligned; None for any."""
    return None if self.align.kind == "linear" else self.align.bandwidth

  def prepare(self, dataset: SkillDataset, fold: Fold, criterion: str) -> dict[str, np.ndarray]:
    """Returns {"score_range": `[2]` the lowest and the highest possible score of the training videos}; 0 to 1 of pairs.

    Raises:
      ValueError: if the range is not known, or a video cannot be aligned with those of its activity.
    """
    if self.band:
      check_band(dataset, fold, self.stream, exemplars.groups(dataset, self.model.exemplars.same), self.band)
    low, high = score_range(self.config, dataset, criterion, fold.train_videos) if self.scored else (0, 1)
    return dict(score_range=np.array((low, high), np.float32))

  def check(self, dataset: SkillDataset, others: Mapping[str, np.ndarray]) -> None:
    """Raises a `ValueError` if a video cannot be aligned with `others`, {stream: `[M]` rows} or None."""
    if self.band and others is not None:
      for video, rows in zip(dataset.videos, dataset.lengths[self.stream]):
        check_rows(f"{dataset.source}: video {video!r}", rows, others[self.stream], self.band)

  def targets(self, dataset: SkillDataset, criterion: str) -> np.ndarray:
    """Returns `[V]` float32 scores; raises a `ValueError` for one outside its range."""
    check_scores(self.config, dataset, criterion)
    return np.asarray(dataset.labels(criterion), np.float32)

  def init(self, key: jax.Array, videos: Tree, constants: Tree) -> Tree:
    """Returns the first parameters: {"encoder", "heads"}."""
    del constants
    encoder_key, heads_key = jax.random.split(key)
    (embeddings, _), variables = self.encoder.init_with_output(encoder_key, videos[self.stream][0].astype(jnp.float32))
    return dict(encoder=variables["params"], heads=self.heads.init(heads_key, embeddings)["params"])

  def _of_heads(self, variables: Tree, function: str, *arguments: jax.Array) -> Any:
    """What a function of the heads, by name, gives."""
    return self.heads.apply({"params": variables["params"]["heads"]}, *arguments, method=function)

  def encode(self, variables: Tree, videos: Tree, key: jax.Array, train: bool) -> Tree:
    """Returns directions to align, and the rows' parts of the heads as query and as reference, of each video once."""
    del key, train
    rows = videos[self.stream].astype(jnp.float32)
    embeddings, directions = self.encoder.apply({"params": variables["params"]["encoder"]}, rows)   # [V, T, E or A]
    query, reference = self._of_heads(variables, "project", embeddings)                              # [V, T, P]
    return dict(directions=directions, query=query, reference=reference, length=videos["lengths"][self.stream],
                position=videos["position"])

  def compare(self, variables: Tree, query: Tree, reference: Tree) -> Tree:
    """Compares one query with one reference (Sec. 3.2 to 3.4).

    Args:
      query, reference: encodings of a video each, of T and of S rows.

    Returns:
      {"score": [], "segments": `[K]` and "importance": `[K]`, between 0 and 1; "path": `[T, S]` the alignment,
      "offset": `[T]` in time, as a share of the duration, "misfit": [] cost of the alignment}.
    """
    length, other = query["length"], reference["length"]
    path, misfit = self.align.apply({}, query["directions"], reference["directions"], (length, other))
    rows, columns = path.shape
    real = jnp.arange(rows) < length
    if self.align.free_ends == "query":             # what lies outside the piece is beside the reference's ends,
      real = path.sum(axis=1)                       # and counts nothing
      after = jnp.cumsum(real) > real.sum() / 2
      edge = jax.nn.one_hot(jnp.where(after, other - 1, 0), columns)
      path = (path + TINY * edge) / (real + TINY)[:, None]
    place = path @ (jnp.arange(columns) + 0.5) / other
    offset = jnp.where(real > 0, place - (jnp.arange(rows) + 0.5) / length, 0.0)
    aligned = path @ reference["reference"]
    differences = self._of_heads(variables, "compare", query["query"], aligned, jnp.abs(offset))
    count = self.model.segments
    member = jax.nn.one_hot(segment_of(rows, length, count), count, axis=0) * real        # [K, T]
    held = member.sum(axis=1)                       # a video of fewer rows than segments leaves some without a row
    means = member @ differences / jnp.maximum(held, 1.0)[:, None]                        # [K, F]
    score, importance = self._of_heads(variables, "judge", means)
    score = nn.sigmoid(score)
    if self.align.free_ends == "query":             # a segment counts as far as it lies in the piece
      importance += jnp.log(jnp.clip(held, TINY, 1.0))
    importance = nn.softmax(jnp.where(held > 0, importance, -1e9))
    return dict(score=importance @ score, segments=score, importance=importance, path=path, offset=offset,
                misfit=misfit)

  def against(self, variables: Tree, query: Tree, references: Tree, known: jax.Array) -> tuple[Tree, Tree]:
    """Returns what `compare` found of a query and each of M references, and the means over the `known` `[M]` ones."""
    found = jax.vmap(self.compare, (None, None, 0))(variables, query, references)
    return found, {name: average(found[name], known) for name in found if name != "path"}

  def relate(self, variables: Tree, labels: Tree, mask: jax.Array) -> Tree:
    """Returns `[B, B]` differences of true scores, and which pairs rank: all that differ, of any two activities.

    Where pairs are learnt from, items are these.
    """
    if not self.scored:
      return {}
    low, high = variables["constants"]["score_range"]
    score = labels["score"][:, 0]
    pairs = mask[:, None] & mask & (score[:, None] != score)
    return dict(gap=(score[:, None] - score) / (high - low), pairs=pairs.astype(jnp.float32))

  def beside(self, variables: Tree, query: Tree, references: Tree) -> Tree:
    """Returns what a query is beside its M references, the means of `against`; it is no reference of its own."""
    return self.against(variables, query, references, references["position"] != query["position"])[1]

  def alignment_terms(self, variables: Tree, query: Tree, found: Tree) -> Tree:
    """Returns the two terms of the alignment's loss of one query (Sec. 3.5), [] each; `found` is of `beside`."""
    options, weights = self.config.loss, variables["constants"]["loss_weights"]
    apart = contrastive_loss(query["directions"], query["length"], options.window, options.contrastive_margin)
    return dict(alignment=weights["alignment"] * found["misfit"],
                contrastive=weights["alignment"] * weights["contrastive"] * apart)

  def loss(self, variables: Tree, encodings: Sequence[Tree], labels: Tree,
           gather: Callable[[jax.Array], jax.Array]) -> tuple[jax.Array, Tree]:
    """Returns squared error, ranking of the pairs of the batch, and regular alignment (Sec. 3.5), `[B]` each."""
    weights, (low, high) = variables["constants"]["loss_weights"], variables["constants"]["score_range"]
    query, references = encodings[0], jax.tree.map(lambda *x: jnp.stack(x, axis=1), *encodings[1:])
    found = jax.vmap(self.beside, (None, 0, 0))(variables, query, references)
    error = found["score"] - (labels["score"][:, 0] - low) / (high - low)
    gap, pairs = found["score"][:, None] - gather(found["score"]), labels["pairs"]
    misordered = hinge(self.config.loss.margin, gap * labels["gap"])                      # [B, B]
    terms = dict(
        squared=error ** 2,
        ranking=weights["ranking"] * jnp.sum(misordered * pairs, axis=1) / jnp.maximum(pairs.sum(axis=1), 1.0),
        **jax.vmap(self.alignment_terms, (None, 0, 0))(variables, query, found))
    return sum(terms.values()), terms | dict(error=jnp.abs(error) * (high - low))

  def pair_loss(self, variables: Tree, encodings: Sequence[Tree], labels: Tree) -> tuple[jax.Array, Tree]:
    """Returns ranking of a pair and regular alignment of its two videos, [] each: a pair tells no score to be near.

    Args:
      encodings: better, worse, M references of the better, M references of the worse video.
    """
    del labels
    videos, count = encodings[:2], len(encodings) // 2 - 1
    references = (encodings[2:2 + count], encodings[2 + count:])
    stacked = [jax.tree.map(lambda *x: jnp.stack(x), *side) for side in references]
    found = [self.beside(variables, *side) for side in zip(videos, stacked)]
    better, worse = (one["score"] for one in found)
    both = [self.alignment_terms(variables, *side) for side in zip(videos, found)]
    ranking = variables["constants"]["loss_weights"]["ranking"] * hinge(self.config.loss.margin, better - worse)
    terms = dict(ranking=ranking) | jax.tree.map(lambda *x: sum(x) / 2, *both)
    return sum(terms.values()), terms | dict(accuracy=in_order(better, worse))

  def assess(self, variables: Tree, encoding: Tree, references: Tree) -> Assessment:
    """Returns scores of the video and of its segments, the alignment to each reference, and the timing offset.

    That is a share of the duration: where it is positive, references show the same later.
    """
    low, high = variables["constants"]["score_range"]
    known, (rows, _) = references["mask"], encoding["directions"].shape
    found, mean = self.against(variables, encoding, references["encodings"], known)
    spread = jnp.sqrt(average((found["score"] - mean["score"]) ** 2, known))
    segments = dict(number=segment_of(rows, encoding["length"], self.model.segments),
                    score=low + (high - low) * mean["segments"], importance=mean["importance"])
    parts = {"spread over references": (high - low) * spread} if self.scored else {}
    return Assessment(
        score=low + (high - low) * mean["score"], parts=parts,
        segments=segments, curves={"timing offset": mean["offset"]}, alignment=found["path"])


def build(config: ConfigDict) -> Method:
  """Returns the method of `config.model` and `config.loss`.

  `config.model.differences` says what a row says beside a reference: "heads" is the differential encoder (Sec. 3.3);
  without it (Table 2) "rows" is what the heads would read, and "none" the query alone.

  Raises:
    ValueError: for options that cannot be.
  """
  _check(config)
  model, dtype, stream = config.model, operand_type(config), config.data.stream
  encoder = Encoder(model.hidden, model.width, model.directions, dtype)
  heads = (Heads(model.heads, model.head_hidden, model.head_outputs, dtype) if model.differences == "heads" else
           Rows(model.differences == "rows", dtype))
  align = TemporalAlignment(model.alignment, model.gamma, model.bandwidth or None, model.get("soft_dtw", "scan"),
                            model.get("free_ends", "none"))         # a run of before has no such fields
  system = Differences(config, stream, encoder, heads, align)
  offset = Meaning("how much later references show the same, as a share of the duration")
  phase = (Phase(system.loss, trains=".", batched=True, gathers=True) if system.scored else
           Phase(system.pair_loss, trains="."))
  return Method(init=system.init, encode=system.encode, phases=(phase,), assess=system.assess,
                items=REFERENCES if system.scored else RANKED_REFERENCES, streams=(stream,), prepare=system.prepare,
                targets=system.targets, relate=system.relate, check=system.check, scans=model.alignment != "linear",
                meanings={"timing offset": offset})


def check_band(dataset: SkillDataset, fold: Fold, stream: str, group: np.ndarray, bandwidth: int) -> None:
  """Raises a `ValueError` if a video of a fold cannot be aligned with every training video of its group in the band."""
  lengths, train = dataset.lengths[stream], fold.train_videos
  for video in np.concatenate([train, fold.test_videos, fold.validation_videos]):
    others = train[group[train] == group[video]]
    who = f"{dataset.source}: fold {fold.name!r}: video {dataset.videos[video]!r}"
    check_rows(who, lengths[video], lengths[others], bandwidth)


def check_rows(who: str, rows: int, others: np.ndarray, bandwidth: int) -> None:
  """Raises a `ValueError` if a video of so many rows cannot be aligned with one of the others `[M]` in the band."""
  gap = np.abs(others - rows)
  if gap.max(initial=0) > bandwidth:
    raise ValueError(f"{who} has {rows} rows and one that it is compared with {others[gap.argmax()]}, farther apart "
                     f"than config.model.bandwidth={bandwidth} rows can align; widen the band, or set it to 0 for "
                     "none.")


def _check(config: ConfigDict) -> None:
  model, loss = config.model, config.loss
  for group, name, known in (("model", "alignment", ALIGNMENTS), ("model", "differences", DIFFERENCES),
                             ("model", "free_ends", FREE_ENDS), ("model", "soft_dtw", FORMS),
                             ("loss", "labels", LABELS)):
    if config[group].get(name, known[0]) not in known:
      raise ValueError(f"config.{group}.{name}={config[group][name]!r} is unknown; use one of {', '.join(known)}.")
  if loss.labels == "pairs" and tuple(config.data.criteria) != ("score",):
    raise ValueError(f"config.data.criteria={tuple(config.data.criteria)}: pairs know no criteria; leave it as it is, "
                     "or set config.loss.labels='scores'.")
  for name in ("hidden", "width", "heads", "head_hidden", "head_outputs", "segments"):
    if model[name] < 1:
      raise ValueError(f"config.model.{name}={model[name]} must be at least 1.")
  if model.exemplars.count < 1 or model.bandwidth < 0 or model.directions < 0:
    raise ValueError(f"config.model: exemplars.count={model.exemplars.count} must be at least 1, and "
                     f"bandwidth={model.bandwidth} and directions={model.directions} at least 0.")
  if model.get("free_ends", "none") != "none" and (model.bandwidth or model.alignment == "linear"):
    raise ValueError(f"config.model.free_ends={model.free_ends!r} aligns with a piece, wherever it lies: set "
                     "config.model.bandwidth=0, and config.model.alignment to 'soft' or 'hard'.")
  if not model.gamma > 0:
    raise ValueError(f"config.model.gamma={model.gamma} must be positive; its limit at 0 is "
                     "config.model.alignment='hard'.")
  if not (loss.margin >= 0 and loss.window >= 0 and loss.contrastive_margin >= 0):
    raise ValueError(f"config.loss: margin={loss.margin}, window={loss.window} and contrastive_margin="
                     f"{loss.contrastive_margin} must not be negative.")
