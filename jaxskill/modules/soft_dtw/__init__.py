"""Soft-DTW: the smoothed cost of aligning two series in temporal order, its expected alignment, derivatives of both.

A path walks from (0, 0) to the last cell of the cost matrix by steps down, right or diagonal; soft-DTW is the soft
minimum of the paths' costs, and its gradient is the expected alignment E: how likely each cell is to lie on the path
when paths are drawn with probability exp(-cost / gamma) / Z. The recursion runs over anti-diagonals: all cells of one
are computed at once, and every pass (the value, E, the derivative of E) is one recurrence from diagonal to diagonal,
written once (`soft_dtw_steps`) and run by a `lax.scan` or by a kernel.

Two habits keep float32 exact where costs are thousands of gammas: the recursion adds weights exp(-R / gamma), mantissa
and exponent apart, so that no large sum is ever rounded (and one exponential a cell is enough), and what leads back to
E are the probabilities of the steps: E is products and sums of them alone.

N, M segments of the two series (rows, columns), K = N + M - 1 anti-diagonals, D feature channels.

References: Cuturi and Blondel, Soft-DTW, ICML 2017, Algorithms 1 and 2; Mensch and Blondel, Differentiable dynamic
programming, ICML 2018 (derivative of the alignment); Blondel, Mensch and Vert, Differentiable divergences between time
series, AISTATS 2021; Sakoe and Chiba, IEEE TASSP 1978 (band).
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint

from jaxskill.modules.layers import contract
from jaxskill.modules.soft_dtw.steps import (
  FAR,
  LOG_2,
  NEVER,
  NONE,
  expectation_step,
  expectation_tangent_step,
  forward_start,
  forward_step,
  hard_start,
  hard_step,
  one_pair,
  tangent_step,
)

_BLOCK = 32             # diagonals between two checkpoints
_PARTS, _LONG = 4, 256  # parts of the first and of the last diagonals, where there are so many rows
_CELLS = 2 ** 19        # up to so many in a table of all pairs, a CPU works on all pairs at once,
_ROWS = 1024            # beyond on pairs of so many rows at a time
_LEAST = -7e8           # gammas: a cost below is more than the exponents hold


def pairwise_squared_distance(x, y, *, form="fast", dtype=jnp.float32):
  """Squared Euclidean distance between all segments of two series; not halved.

  Args:
    x: `[N, D]` segments.
    y: `[M, D]` segments.
    form: "fast" is a matrix product, ||x||^2 + ||y||^2 - 2 x.y, with an error of some 1e-7 of the squared norms, never
      below zero; its derivatives, in reverse mode alone, are those of the distance. "safe" sums squared differences:
      exact zeros with zero gradients at equal segments, at several times the time. Segments of padding must be finite
      in both.
    dtype: of the operands of the fast form's products.

  Returns:
    `[N, M]` float32 squared distances (float64 of float64 series).

  Raises:
    ValueError: if the form is unknown or the series are no `[N, D]` and `[M, D]`.
  """
  if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
    raise ValueError(f"x {x.shape} and y {y.shape} are no two series [N, D] and [M, D] of one width; map further axes "
                     "with jax.vmap.")
  x, y = _float(x), _float(y)
  x, y = (series.astype(jnp.result_type(x, y)) for series in (x, y))
  if form == "safe":
    return jnp.square(x[:, None] - y[None]).sum(axis=-1)
  if form != "fast":
    raise ValueError(f"form={form!r} is unknown; use 'fast' or 'safe'.")
  return _distance(x, y, dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _distance(x, y, dtype):
  """The fast form. Its derivative is that of the distance, written out: two products and a pass for each series."""
  product = _product("nd,md->nm", x, y, dtype)
  return jnp.maximum(jnp.square(x).sum(axis=1)[:, None] + jnp.square(y).sum(axis=1) - (product + product), 0)


def _distance_forward(x, y, dtype):
  return _distance(x, y, dtype), (x, y)


def _distance_backward(dtype, series, slope):
  (x, y), twice = series, slope + slope
  return (x * twice.sum(axis=1)[:, None] - _product("nm,md->nd", twice, y, dtype),
          y * twice.sum(axis=0)[:, None] - _product("nm,nd->md", twice, x, dtype))


_distance.defvjp(_distance_forward, _distance_backward)


def _product(spec, left, right, dtype):
  with jax.default_matmul_precision("highest"):         # GPUs and TPUs round the operands of float32 otherwise
    return contract(spec, left, right, dtype) if left.dtype == jnp.float32 else jnp.einsum(spec, left, right)


def soft_dtw(cost, gamma, *, lengths=None, bandwidth=None, implementation="auto"):
  """Smoothed cost of aligning the segments of two series in temporal order. Map it with `jax.vmap` over pairs.

  Differentiable twice by `cost` and `gamma`, in reverse mode. Kept for the backward pass: E, N M numbers. To find E
  takes, for a while, up to 4 N (N + M) numbers with N the shorter series ("checkpointed": 2.2 N (N + M)), of every
  pair; a CPU works on a few at a time where they are many or long.

  Args:
    cost: `[N, M]` distances between the segments of the two series; R, their sum along a path, of size below 7e8 gamma.
      No path visits a cell of +inf. What lies beyond the lengths or outside the band may be anything, NaN too.
    gamma: softness, > 0, in the unit of `cost`; hard DTW is the limit at 0.
    lengths: (n, m) real segments of the two series, 1 <= n <= N and 1 <= m <= M; None for all.
    bandwidth: Sakoe-Chiba band: only cells with |i - j| <= bandwidth; None for all. It must reach the last cell. Where
      it is known only at run time (traced), a band narrower than |n - m| is widened to that.
    implementation: "scan"; "checkpointed", for long series: every 32nd diagonal is stored and the others are computed
      again in the backward pass (its second derivative is that of "scan"); "pallas", kernels for GPUs (Hopper or
      newer) and TPUs, float32 and up to 4096 segments of the shorter series; "auto" is "scan" until the kernels have
      been timed on such devices.

  Returns:
    `[]` alignment cost, in the unit of `cost`, float32 (float64 if `cost` is); can be negative. NaN where one of the
    costs is, where it is more than 7e8 gamma and where no path is left; -inf where a cost is. The gradient is then NaN.

  Raises:
    ValueError: if `cost` is not a non-empty matrix; if gamma, a length or the band is known and out of range; if the
      implementation is unknown or has no kernel for the device, the type or the length.

  Reference: Cuturi and Blondel, ICML 2017, Algorithm 1.
  """
  scaled, stop, _ = _problem(cost, gamma, lengths, bandwidth)
  return gamma * _value(scaled, stop, _choose(implementation))


def soft_alignment(cost, gamma, *, lengths=None, bandwidth=None, implementation="auto"):
  """Expected alignment: the probability that each pair of segments is matched; the gradient of `soft_dtw` by `cost`.

  Differentiable by `cost` and `gamma`. Arguments, errors and memory as in `soft_dtw`; to be differentiated it keeps
  2 N (N + M) numbers, and its derivative needs 4 N (N + M) more for a while.

  Returns:
    `[N, M]` float in [0, 1]: 1 at the first and the last cell, every row and column of real segments sums to at least
    1, zeros beyond the lengths, outside the band and at costs of +inf. Others are NaN where `soft_dtw` is not finite.

  Reference: Cuturi and Blondel, ICML 2017, Algorithm 2.
  """
  scaled, stop, transposed = _problem(cost, gamma, lengths, bandwidth)
  value, alignment = _solve(scaled, stop, _choose(implementation))
  alignment = jnp.where(jnp.isfinite(value), 1, jnp.where(scaled >= FAR, 0, jnp.nan)) * alignment
  return alignment.T if transposed else alignment


def hard_alignment(cost, *, lengths=None, bandwidth=None, implementation="auto"):
  """The best path of classic DTW as a matrix; its cost is `(hard_alignment(cost) * cost).sum()`.

  Of equally good steps into a cell the diagonal one is taken, then the one along the shorter series (of equal ones the
  first). No gradient flows. Arguments and errors as in `soft_dtw`.

  Returns:
    `[N, M]` float, 1 on the cells of the path, else 0. NaN where a path may go, if a cost there is NaN or -inf.

  Reference: Sakoe and Chiba, IEEE TASSP 1978.
  """
  scaled, stop, transposed = _problem(cost, 1.0, lengths, bandwidth)
  scaled, run = jnp.minimum(jax.lax.stop_gradient(scaled), FAR), _runner(_choose(implementation))
  _, steps = run(hard_step, hard_start(scaled), (_skew(scaled, FAR),), stop)
  path = _expectation(*steps, stop, run)
  path = jnp.where((scaled == FAR) | (scaled.min() > -FAR), path, jnp.nan)
  return path.T if transposed else path


def soft_dtw_divergence(x, y, gamma, *, lengths=None, bandwidth=None, form="fast", dtype=jnp.float32,
                        implementation="auto"):
  """sdtw(x, y) - (sdtw(x, x) + sdtw(y, y)) / 2 of squared distances: zero, without slope, where the series are equal.

  Args:
    x: `[N, D]` segments.
    y: `[M, D]` segments.
    form, dtype: see `pairwise_squared_distance`.
    gamma, lengths, bandwidth, implementation: see `soft_dtw`; segments beyond the lengths may be anything.

  Returns:
    `[]` divergence, in the unit of the squared distance.

  Raises:
    ValueError: as `soft_dtw` and `pairwise_squared_distance`.

  Reference: Blondel, Mensch and Vert, AISTATS 2021 (with the whole squared distance, not its half).
  """
  n, m = (len(x), len(y)) if lengths is None else lengths
  _check(gamma, (n, m), (len(x), len(y)), bandwidth)
  size = max(len(x), len(y))      # one recursion for the three
  x, y = (jnp.pad(jnp.where(jnp.arange(len(series))[:, None] < length, series, 0), ((0, size - len(series)), (0, 0)))
          for series, length in ((x, n), (y, m)))
  left, right = jnp.stack([x, x, y]), jnp.stack([y, x, y])
  cost = jax.vmap(functools.partial(pairwise_squared_distance, form=form, dtype=dtype))(left, right)     # [3, P, P]
  pairs = jnp.stack([jnp.stack([n, n, m]), jnp.stack([m, n, m])], axis=1)                                # [3, 2]
  solve = lambda cost, lengths: soft_dtw(cost, gamma, lengths=lengths, bandwidth=bandwidth,
                                         implementation=implementation)
  both, own_x, own_y = jax.vmap(solve)(cost, pairs)
  return both - (own_x + own_y) / 2


def _float(array):
  array = jnp.asarray(array)
  return array if array.dtype == jnp.float64 else array.astype(jnp.float32)


def _known(value):
  return None if value is None or isinstance(value, jax.core.Tracer) else value


def _check(gamma, lengths, shape, bandwidth):
  """Raises for what is known now and out of range."""
  if _known(gamma) is not None and not gamma > 0:
    raise ValueError(f"gamma={gamma} must be above 0; for the hard path use hard_alignment.")
  for name, length, most in zip(("n", "m"), lengths, shape):
    if _known(length) is not None and not 1 <= length <= most:
      raise ValueError(f"lengths: {name}={length} of a series of {most} segments; expected 1 to {most}.")
  if _known(bandwidth) is not None:
    known = all(_known(length) is not None for length in lengths)
    gap = abs(int(lengths[0]) - int(lengths[1])) if known else 0
    if bandwidth < gap:
      raise ValueError(f"bandwidth={bandwidth} leaves no path: the series differ by {gap} segments; use {gap} or more.")


def _problem(cost, gamma, lengths, bandwidth):
  """-> `[N, M]` cost / gamma with N <= M, far where no path may go; `[N]` stop; whether rows and columns are swapped.

  `stop` holds the number of the diagonal of the last cell in the row of that cell, in others a number that none has.
  """
  cost = jnp.asarray(cost)
  if cost.ndim != 2 or not cost.size:
    raise ValueError(f"cost has the shape {cost.shape}; expected a matrix [N, M] that is not empty; map further axes "
                     "with jax.vmap.")
  ends = cost.shape if lengths is None else (lengths[0], lengths[1])
  _check(gamma, ends, cost.shape, bandwidth)
  cost, transposed = _float(cost), cost.shape[0] > cost.shape[1]
  if transposed:                   # short diagonals, more of them: fewer cells outside the matrix
    cost, ends = cost.T, ends[::-1]
  rows, columns = jnp.arange(cost.shape[0]), jnp.arange(cost.shape[1])
  allowed = None
  if lengths is not None:
    allowed = (rows < ends[0])[:, None] & (columns < ends[1])
  if bandwidth is not None:
    width = jnp.maximum(bandwidth, jnp.abs(ends[0] - ends[1]))
    inside = jnp.abs(rows[:, None] - columns) <= width
    allowed = inside if allowed is None else allowed & inside
  if allowed is None:
    scaled = cost / gamma
  else:                            # cleared before the division, or NaN would reach the gradient of gamma
    scaled = jnp.where(allowed, jnp.where(allowed, cost, 0) / gamma, FAR)
  stop = jnp.where(rows == ends[0] - 1, ends[0] + ends[1] - 2, NEVER)
  return scaled.astype(cost.dtype), stop.astype(jnp.int32), transposed


def _choose(implementation):
  if implementation not in ("auto", "scan", "checkpointed", "pallas"):
    raise ValueError(f"implementation={implementation!r} is unknown; use 'auto', 'scan', 'checkpointed' or 'pallas'.")
  if implementation == "pallas":
    platform, capability = _device()
    major = capability.split(".")[0]
    if platform != "tpu" and not (platform == "gpu" and major.isdecimal() and int(major) >= 9):
      what = f"a GPU of compute capability {capability}" if platform == "gpu" else f"a {platform}"
      raise ValueError(f"implementation='pallas' has no kernel for {what}, only for TPUs and for GPUs of compute "
                       "capability 9 (Hopper) or more; use 'auto' or 'scan'.")
    return platform
  return "scan" if implementation == "auto" else implementation


def _device():
  """-> platform; compute capability of a GPU."""
  platform = jax.default_backend()
  return platform, jax.devices()[0].compute_capability if platform == "gpu" else ""


def _runner(implementation):
  """What runs a recurrence: `_scan`, or the kernel of a platform."""
  if implementation not in ("gpu", "tpu"):
    return _scan_parts if jax.default_backend() == "cpu" else _scan
  from jaxskill.modules.soft_dtw import kernels  # Pallas takes long to load
  return functools.partial(kernels.run, platform=implementation)


def _skew(matrix, fill):
  """`[N, M]` -> `[K, N]` anti-diagonals: element (k, i) is (i, k - i), or `fill` outside the matrix."""
  diagonals = _sheared(matrix, fill).T
  if jax.default_backend() == "tpu":      # or memory stays as it was, and 128 diagonals are read for every one
    diagonals = with_layout_constraint(diagonals, Layout((0, 1)))
  return diagonals


def _sheared(matrix, fill):
  n, m = matrix.shape
  padded = jnp.pad(matrix, ((0, 0), (0, n)), constant_values=fill)
  return padded.ravel()[: n * (n + m - 1)].reshape(n, n + m - 1)


def _unskew(diagonals):
  """`[K, N]` -> `[N, M]`: what `_skew` gave."""
  k, n = diagonals.shape
  return jnp.pad(diagonals.T.ravel(), (0, n)).reshape(n, k + 1)[:, : k + 1 - n]


def _shift(rows, by, fills):
  """Element i of a result is element i - by of its row, `fill` at the edge; `by` is 1 or -1."""
  return tuple(jnp.pad(row[:-1] if by == 1 else row[1:], (1, 0) if by == 1 else (0, 1), constant_values=fill)
               for row, fill in zip(rows, fills))


def _scan(step, carry, inputs, stop, *, first=0, reverse=False):
  """Runs a recurrence over diagonals `[K, N]`: step(shift, k, stop, carry, inputs) -> carry, outputs.

  Carry and stop are `[N]`, k counts from `first`; shift(rows, by, fills) moves rows by one, see `_shift`.
  """
  def body(carry, numbered):
    k, inputs = numbered
    return step(_shift, k, stop, carry, inputs)
  return jax.lax.scan(body, carry, (first + jnp.arange(len(inputs[0])), inputs), reverse=reverse)


def _scan_parts(step, carry, inputs, stop, *, reverse=False):
  """As `_scan`, diagonal by diagonal in parts: the rows that no cell of a part's diagonals lies in are left out."""
  diagonals, rows = inputs[0].shape
  edges = [rows * part // _PARTS for part in range(_PARTS)] if rows >= _LONG else [0]
  edges = sorted({*edges, *(diagonals - edge for edge in edges)})
  pieces = []
  for first, last in list(zip(edges, edges[1:]))[:: -1 if reverse else 1]:
    low, high = max(0, first - (diagonals - rows + 1)), min(rows, last)      # one row more: what it leaves to the next
    end, outputs = _scan(step, tuple(row[low:high] for row in carry),
                         tuple(table[first:last, low:high] for table in inputs), stop[low:high], first=first,
                         reverse=reverse)
    carry = tuple(jnp.concatenate([row[:low], new, row[high:]]) for row, new in zip(carry, end))
    pieces.append([jnp.pad(table, ((0, 0), (low, rows - high))) for table in outputs])
  return carry, tuple(jnp.concatenate(tables[:: -1 if reverse else 1]) for tables in zip(*pieces))


def _forward(cost, stop, run):
  """-> `[]` value / gamma; `[K, N]` probabilities of the steps up and left."""
  carry, steps = run(forward_step, forward_start(cost), (_skew(cost, FAR),), stop)
  return _at_stop(carry, stop), steps


def _at_stop(carry, stop):
  """-> `[]` value / gamma, NaN where it left the range of exponents."""
  weight, power = carry[:2]
  high, middle, low = LOG_2
  value = -(power * high).astype(weight.dtype) - (power * (middle + low) + jnp.log(weight))
  return jnp.where(stop < NEVER, jnp.where(jnp.abs(power) < -NONE, value, jnp.nan), 0.0).sum().astype(weight.dtype)


def _unless_spoiled(value, cost):
  """The value / gamma, or what a cost makes of it that a mantissa and an exponent cannot hold: NaN, -inf."""
  least = cost.min(axis=0)                                  # and not of all at once: a CPU would take one by one
  low = jnp.where(jnp.isnan(least).any() | (least > -jnp.inf).all(), jnp.nan, -jnp.inf)
  return jnp.where((least > _LEAST).all(), value, low)


def _expectation(up, left, stop, run):
  zeros = jnp.zeros_like(up[0])
  _, (expected,) = run(expectation_step, (zeros, zeros), (up, left), stop, reverse=True)
  return _unskew(expected)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _value(cost, stop, implementation):
  """-> `[]` value / gamma."""
  if implementation == "checkpointed":
    return _unless_spoiled(_forward_blocks(cost, stop)[0], cost)
  return _unless_spoiled(_forward(cost, stop, _runner(implementation))[0], cost)


def _value_forward(cost, stop, implementation):
  value, expected = _solve(cost, stop, implementation)
  return value, (value, expected)


def _value_backward(implementation, solved, gradient):
  del implementation
  value, expected = solved
  return jnp.where(jnp.isfinite(value), gradient, jnp.nan) * expected, None


_value.defvjp(_value_forward, _value_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _solve(cost, stop, implementation):
  """-> `[]` value / gamma, `[N, M]` E. Both at once: what leads to E need not be kept until the backward pass."""
  def solve(cost, stop):
    if implementation == "checkpointed":
      value, starts = _forward_blocks(cost, stop)
      expected = _expectation_blocks(cost, stop, starts)
    else:
      run = _runner(implementation)
      value, steps = _forward(cost, stop, run)
      expected = _expectation(*steps, stop, run)
    return _unless_spoiled(value, cost), expected
  if implementation in ("gpu", "tpu") or jax.default_backend() != "cpu":
    return solve(cost, stop)
  return one_pair(functools.partial(_few_at_once, solve))(cost, stop)


def _few_at_once(solve, cost, stop):
  """Maps over pairs, a few at a time where they are many or long: what is between cost and E stays in the caches."""
  pairs, rows, columns = cost.shape
  turns = -(-pairs * rows // _ROWS) if pairs * rows * (rows + columns - 1) > _CELLS else 1
  if turns <= 1:
    return jax.vmap(solve)(cost, stop)
  return jax.lax.map(lambda pair: solve(*pair), (cost, stop), batch_size=-(-len(cost) // turns))


def _solve_forward(cost, stop, implementation):
  if implementation == "checkpointed":
    value, expected = _solve(cost, stop, implementation)
    return (value, expected), (cost, stop, expected, None)
  run = _runner(implementation)
  value, steps = _forward(cost, stop, run)
  value, expected = _unless_spoiled(value, cost), _expectation(*steps, stop, run)
  return (value, expected), (cost, stop, expected, steps)


def _solve_backward(implementation, residuals, gradients):
  """The Hessian of soft-DTW times a direction: being symmetric, it is the change of E in that direction of the cost."""
  (cost, stop, expected, steps), (by_value, direction) = residuals, gradients
  run = _runner(implementation)
  if steps is None:
    _, steps = _forward(cost, stop, run)
  zeros = jnp.zeros_like(steps[0][0])
  _, changes = run(tangent_step, (zeros, zeros), (_skew(direction, 0.0), *steps), stop)
  _, (change,) = run(expectation_tangent_step, (zeros, zeros), (_skew(expected, 0.0), *steps, *changes), stop,
                     reverse=True)
  return _last(by_value * expected + _unskew(change), cost), None


@jax.custom_jvp
def _last(derivative, cost):
  """The derivative, which must not be differentiated by the cost: arithmetic on bits would give zeros unnoticed."""
  del cost
  return derivative


@_last.defjvp
def _no_further(primals, tangents):
  raise NotImplementedError("soft-DTW is differentiable twice and its alignment once, by reverse mode.")


_solve.defvjp(_solve_forward, _solve_backward)


def _blocks(cost):
  """-> `[b]` numbers of the first diagonals of the blocks; what cuts out a block, `[32, N]`, far beyond the end."""
  sheared = _sheared(cost, FAR)
  count = -(-sheared.shape[1] // _BLOCK)
  sheared = jnp.pad(sheared, ((0, 0), (0, count * _BLOCK - sheared.shape[1])), constant_values=FAR)
  return _BLOCK * jnp.arange(count), lambda first: jax.lax.dynamic_slice_in_dim(sheared, first, _BLOCK, axis=1).T


def _forward_blocks(cost, stop):
  """-> `[]` value / gamma; `[b, N]` carries before each block."""
  numbers, cut = _blocks(cost)

  def block(carry, first):
    return _scan(forward_step, carry, (cut(first),), stop, first=first)[0], carry
  carry, starts = jax.lax.scan(block, forward_start(cost), numbers)
  return _at_stop(carry, stop), starts


def _expectation_blocks(cost, stop, starts):
  numbers, cut = _blocks(cost)

  def block(carry, numbered):
    first, start = numbered
    _, steps = _scan(forward_step, start, (cut(first),), stop, first=first)
    carry, (expected,) = _scan(expectation_step, carry, steps, stop, first=first, reverse=True)
    return carry, expected
  zeros = jnp.zeros_like(starts[0][0])
  _, expected = jax.lax.scan(block, (zeros, zeros), (numbers, starts), reverse=True)
  return _unskew(expected.reshape(-1, len(cost))[: sum(cost.shape) - 1])
