"""SkillDiff: a score from differences to expert performances, each aligned with the performance in time.

A shared encoder turns rows of features into embeddings. A query is aligned with each of M references, the best training
videos of its activity, by soft-DTW (Sec. 3.2). Every row of the query is compared with what the reference shows at that
place of the action: H perceptrons read both embeddings, their difference, and the relative timing offset (Sec. 3.3). K
segments of equal duration get a score each; the mean of these by importance is the score (Sec. 3.4), and that is
averaged over the references.

V videos, T rows of a query, S of a reference, D channels, E of an embedding, A of a direction, P hidden units and F
outputs of all heads, K segments, M references, B items of a batch. Scores lie between 0 and 1 inside; answers are in the
unit of the labels.

Reference: SkillDiff, preprint 2026; "Sec." below are its sections. It has no published code and leaves much open; what
was filled in is a field of the config, with its reason in configs/skilldiff.py. No figure of it is relied upon.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxskill.data import exemplars
from jaxskill.methods import REFERENCES, Assessment, Meaning, Method, Phase
from jaxskill.methods.common import check_scores, score_range
from jaxskill.modules.layers import contract, dot, torch_uniform
from jaxskill.modules.soft_dtw import TemporalAlignment, pairwise_squared_distance
from jaxskill.modules.soft_dtw.layer import KINDS as ALIGNMENTS

TINY = 1e-6                               # below it a squared norm counts as none


class Linear(nn.Module):
  """`[..., D]` rows -> `[..., N]` float32; products of `dtype`."""

  out: int
  bias: bool = True
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, rows):
    start = torch_uniform(rows.shape[-1])
    result = dot(rows, self.param("kernel", start, (self.out, rows.shape[-1])), self.dtype)
    return result + self.param("bias", start, (self.out,)) if self.bias else result


class Encoder(nn.Module):
  """Each row by itself: FC - ReLU - FC to an embedding, to compare; from there FC and norm 1 to a direction, to align."""

  hidden: int
  width: int
  directions: int
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, rows):
    """`[..., D]` rows -> `[..., E]` embeddings, `[..., A]` directions; those of a row without any content are zero."""
    linear = lambda out, name: Linear(out, dtype=self.dtype, name=name)
    embeddings = linear(self.width, "embedding")(nn.relu(linear(self.hidden, "hidden_layer")(rows)))
    directions = linear(self.directions, "direction")(embeddings)
    norm = jnp.sqrt(jnp.maximum(jnp.sum(directions ** 2, axis=-1, keepdims=True), TINY))
    return embeddings, directions / norm


class Heads(nn.Module):
  """How a row differs, by H perceptrons FC - ReLU - FC - ReLU side by side, and what that says of a segment.

  The first layer is linear in query, aligned reference and their difference, so `project` applies it to the rows of each
  video once, not to every aligned pair.
  """

  count: int
  hidden: int                             # units and outputs of one head
  outputs: int
  dtype: jnp.dtype = jnp.float32

  def setup(self):
    units = self.count * self.hidden
    linear = lambda out, bias: Linear(out, bias, self.dtype)
    self.query, self.reference = linear(units, True), linear(units, False)
    self.residual, self.timing = linear(units, False), linear(units, False)
    start = torch_uniform(self.hidden)
    self.kernel = self.param("kernel", start, (self.count, self.outputs, self.hidden))
    self.bias = self.param("bias", start, (self.count, self.outputs))
    self.score, self.importance = linear(1, True), linear(1, False)      # a softmax sees no bias

  def project(self, embeddings):
    """`[..., E]` -> its `[..., P]` part of the hidden units where it is the query, and where it is the reference."""
    residual = self.residual(embeddings)
    return self.query(embeddings) + residual, self.reference(embeddings) - residual

  def compare(self, query, reference, offset):
    """`[T, P]` parts of a query and of the reference aligned with it, `[T]` timing offset -> `[T, F]` differences."""
    units = nn.relu(query + reference + self.timing(offset[:, None])).reshape(-1, self.count, self.hidden)
    result = add_bias(contract("thp,hfp->thf", units, self.kernel, self.dtype), self.bias)
    return nn.relu(result).reshape(len(query), -1)

  def judge(self, segments):
    """`[K, F]` mean differences of segments -> logits of their scores and of their importance, `[K]` each."""
    return self.score(segments)[:, 0], self.importance(segments)[:, 0]

  def __call__(self, embeddings):
    """Touches every parameter, to make them: `[T, E]` embeddings against themselves."""
    return self.judge(self.compare(*self.project(embeddings), jnp.zeros(len(embeddings))))


@jax.custom_vjp
def add_bias(rows, bias):
  """`[T, ...]` rows + `[...]` bias.

  Its gradient is summed in halves: XLA cuts a plain sum of this size by the number of processor cores, and the last bit of
  training would depend on how many a process was given.
  """
  return rows + bias


def _bias_gradient(_, slope):
  total = slope
  while len(total) > 1:
    if len(total) % 2:
      total = jnp.concatenate([total, jnp.zeros_like(total[:1])])
    total = total[:len(total) // 2] + total[len(total) // 2:]
  return slope, total[0]


add_bias.defvjp(lambda rows, bias: (rows + bias, None), _bias_gradient)


def segment_of(rows, length, count):
  """`[rows]` number of the segment that each row is in: `count` of equal duration; the last one also holds padding."""
  return jnp.minimum(jnp.arange(rows) * count // length, count - 1)


def average(values, known):
  """Mean of `[M, ...]` values over the references that are `known` `[M]`; 0 without any."""
  return jnp.tensordot(known.astype(jnp.float32), values, 1) / jnp.maximum(known.sum(), 1)


def contrastive_loss(directions, length, window, margin):
  """Keeps embeddings of one video from falling together: near in time, near in space, and far from far.

  Both halves are means by the weights of the paper, the squared distance in time plus one, or one over it, so that the
  loss does not depend on the length.

  Args:
    directions: `[T, E]` embeddings of norm 1; length: [] real rows.
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

  def mean(values, weights):
    return jnp.sum(values * weights) / jnp.maximum(jnp.sum(weights), TINY)
  pulled = mean(distance, jnp.where(real & near, 1 / weight, 0.0))
  return pulled + mean(jnp.maximum(margin - distance, 0.0), jnp.where(real & ~near, weight, 0.0))


def build(config) -> Method:
  """The method of `config.model`."""
  model, loss_options, dtype, stream = config.model, config.loss, jnp.dtype(config.train.dtype), config.data.stream
  _check(config)
  encoder = Encoder(model.hidden, model.width, model.directions, dtype)
  heads = Heads(model.heads, model.head_hidden, model.head_outputs, dtype)
  bandwidth = model.bandwidth or None
  align = TemporalAlignment(model.alignment, model.gamma, bandwidth)

  def prepare(dataset, fold, criterion):
    """The lowest and the highest possible score of the training videos."""
    if bandwidth and model.alignment != "linear":
      check_band(dataset, fold, stream, exemplars.groups(dataset, model.exemplars.same), bandwidth)
    return dict(score_range=np.array(score_range(config, dataset, criterion, fold.train_videos), np.float32))

  def check(dataset, others):
    if bandwidth and model.alignment != "linear" and others is not None:
      for video, rows in zip(dataset.videos, dataset.lengths[stream]):
        check_rows(f"{dataset.source}: video {video!r}", rows, others[stream], bandwidth)

  def targets(dataset, criterion):
    check_scores(config, dataset, criterion)
    return np.asarray(dataset.labels(criterion), np.float32)

  def init(key, videos, constants):
    del constants
    encoder_key, heads_key = jax.random.split(key)
    (embeddings, _), variables = encoder.init_with_output(encoder_key, videos[stream][0].astype(jnp.float32))
    return dict(encoder=variables["params"], heads=heads.init(heads_key, embeddings)["params"])

  def of_heads(variables, function, *arguments):
    return heads.apply({"params": variables["params"]["heads"]}, *arguments, method=function)

  def encode(variables, videos, key, train):
    """Directions to align, and the rows' parts of the heads as query and as reference, of each video once."""
    del key, train
    rows = videos[stream].astype(jnp.float32)
    embeddings, directions = encoder.apply({"params": variables["params"]["encoder"]}, rows)  # [V, T, E], [V, T, A]
    query, reference = of_heads(variables, "project", embeddings)                             # [V, T, P]
    return dict(directions=directions, query=query, reference=reference, length=videos["lengths"][stream],
                position=videos["position"])

  def compare(variables, query, reference):
    """One query against one reference: score, segment scores and importance between 0 and 1, and the alignment."""
    length, other = query["length"], reference["length"]
    path, misfit = align.apply({}, query["directions"], reference["directions"], (length, other))
    rows, columns = path.shape
    real = jnp.arange(rows) < length
    place = path @ (jnp.arange(columns) + 0.5) / other
    offset = jnp.where(real, place - (jnp.arange(rows) + 0.5) / length, 0.0)
    differences = of_heads(variables, "compare", query["query"], path @ reference["reference"], offset)
    member = jax.nn.one_hot(segment_of(rows, length, model.segments), model.segments, axis=0) * real      # [K, T]
    count = member.sum(axis=1)                      # a video of fewer rows than segments leaves some without a row
    score, importance = of_heads(variables, "judge", member @ differences / jnp.maximum(count, 1.0)[:, None])
    score = nn.sigmoid(score)
    importance = nn.softmax(jnp.where(count > 0, importance, -1e9))
    return dict(score=importance @ score, segments=score, importance=importance, path=path, offset=offset,
                misfit=misfit)

  def against(variables, query, references, known):
    """One query against M references: what `compare` found of each, and the means over those that are `known` `[M]`."""
    found = jax.vmap(compare, (None, None, 0))(variables, query, references)
    return found, {name: average(found[name], known) for name in found if name != "path"}

  def relate(variables, labels, mask):
    """`[B, B]` differences of true scores, and which pairs rank: those that differ, of any two activities (Sec. 3.5)."""
    low, high = variables["constants"]["score_range"]
    score = labels["score"][:, 0]
    pairs = mask[:, None] & mask & (score[:, None] != score)
    return dict(gap=(score[:, None] - score) / (high - low), pairs=pairs.astype(jnp.float32))

  def loss(variables, encodings, labels, gather):
    """Squared error, ranking of the pairs of the batch, and regular alignment (Sec. 3.5), `[B]` each."""
    weights, (low, high) = variables["constants"]["loss_weights"], variables["constants"]["score_range"]
    query, references = encodings[0], jax.tree.map(lambda *x: jnp.stack(x, axis=1), *encodings[1:])
    known = references["position"] != query["position"][:, None]                              # [B, M]
    _, found = jax.vmap(against, (None, 0, 0, 0))(variables, query, references, known)
    error = found["score"] - (labels["score"][:, 0] - low) / (high - low)
    gap, pairs = found["score"][:, None] - gather(found["score"]), labels["pairs"]
    hinge = jnp.maximum(loss_options.margin - gap * labels["gap"], 0.0)
    apart = jax.vmap(lambda q: contrastive_loss(q["directions"], q["length"], loss_options.window,
                                                loss_options.contrastive_margin))(query)
    terms = dict(
        squared=error ** 2,
        ranking=weights["ranking"] * jnp.sum(hinge * pairs, axis=1) / jnp.maximum(pairs.sum(axis=1), 1.0),
        alignment=weights["alignment"] * found["misfit"],
        contrastive=weights["alignment"] * weights["contrastive"] * apart)
    return sum(terms.values()), terms | dict(error=jnp.abs(error) * (high - low))

  def assess(variables, encoding, references):
    """Scores of the video and of its segments, the alignment to each reference, and the timing offset, as a share of the
    duration: where it is positive, references show the same later."""
    low, high = variables["constants"]["score_range"]
    known, (rows, _) = references["mask"], encoding["directions"].shape
    found, mean = against(variables, encoding, references["encodings"], known)
    spread = jnp.sqrt(average((found["score"] - mean["score"]) ** 2, known))
    return Assessment(
        score=low + (high - low) * mean["score"], parts={"spread over references": (high - low) * spread},
        segments=dict(number=segment_of(rows, encoding["length"], model.segments),
                      score=low + (high - low) * mean["segments"], importance=mean["importance"]),
        curves={"timing offset": mean["offset"]}, alignment=found["path"])

  return Method(init=init, encode=encode, phases=(Phase(loss, trains=".", batched=True, gathers=True),), assess=assess,
                items=REFERENCES, streams=(stream,), prepare=prepare, targets=targets, relate=relate, check=check,
                meanings={"timing offset": Meaning("how much later references show the same, as a share of the duration")})


def check_band(dataset, fold, stream, group, bandwidth):
  """Raises a `ValueError` if a video of a fold cannot be aligned with every training video of its group in the band."""
  lengths, train = dataset.lengths[stream], fold.train_videos
  for video in np.concatenate([train, fold.test_videos, fold.validation_videos]):
    others = train[group[train] == group[video]]
    check_rows(f"{dataset.source}: fold {fold.name!r}: video {dataset.videos[video]!r}", lengths[video], lengths[others],
               bandwidth)


def check_rows(who, rows, others, bandwidth):
  """Raises a `ValueError` if a video of so many rows cannot be aligned with one of the others `[M]` in the band."""
  gap = np.abs(others - rows)
  if gap.max(initial=0) > bandwidth:
    raise ValueError(f"{who} has {rows} rows and one that it is compared with {others[gap.argmax()]}, farther apart than "
                     f"config.model.bandwidth={bandwidth} rows can align; widen the band, or set it to 0 for none.")


def _check(config):
  model, loss = config.model, config.loss
  if model.alignment not in ALIGNMENTS:
    raise ValueError(f"config.model.alignment={model.alignment!r} is unknown; use one of {', '.join(ALIGNMENTS)}.")
  for name in ("hidden", "width", "directions", "heads", "head_hidden", "head_outputs", "segments"):
    if model[name] < 1:
      raise ValueError(f"config.model.{name}={model[name]} must be at least 1.")
  if model.exemplars.count < 1 or model.bandwidth < 0:
    raise ValueError(f"config.model: exemplars.count={model.exemplars.count} must be at least 1, and "
                     f"bandwidth={model.bandwidth} at least 0.")
  if not model.gamma > 0:
    raise ValueError(f"config.model.gamma={model.gamma} must be positive; its limit at 0 is "
                     "config.model.alignment='hard'.")
  if not (loss.margin >= 0 and loss.window >= 0 and loss.contrastive_margin >= 0):
    raise ValueError(f"config.loss: margin={loss.margin}, window={loss.window} and contrastive_margin="
                     f"{loss.contrastive_margin} must not be negative.")
