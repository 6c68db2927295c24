"""Recurrences over anti-diagonals as one kernel launch each: the wavefront stays on the chip all the way.

Both kernels run the recurrences of `steps`; what they add is how a row of the wavefront moves by one.

GPU (Pallas, Mosaic: Hopper or newer): one pair a program, rows of the diagonal over the threads of a warpgroup; rows
move through shared memory, two buffers in turn, so that one barrier a diagonal is enough. Inputs of the next diagonals
are on their way from memory while one is computed.
TPU (Pallas, Mosaic): eight pairs a program, pairs in sublanes and rows in lanes; diagonals are streamed in blocks, the
wavefront waits in scratch memory from block to block.

S pairs, K anti-diagonals, N rows.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.typing import DTypeLike

from jaxskill.modules.soft_dtw.steps import MOST_ROWS, one_pair

_THREADS = 128                # of a warpgroup
_SUBLANES, _LANES = 8, 128    # of a TPU's registers
_BLOCK_BYTES = 4 * 2 ** 20    # of all arrays of one block of diagonals on a TPU


def run(step: Callable[..., Any], carry: tuple[jax.Array, ...], inputs: tuple[jax.Array, ...], stop: jax.Array, *,
        platform: str, reverse: bool = False) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
  """Runs a recurrence as `wavefront.scan` does, on an accelerator.

  Pairs that are mapped by `jax.vmap` share one launch.

  Args:
    step: (shift, k, stop, carry, inputs) -> carry, outputs.
    carry: tuple of `[N]` float32 or int32.
    inputs: tuple of `[K, N]` float32.
    stop: `[N]` int32.
    platform: "gpu" or "tpu".
    reverse: from the last diagonal to the first.

  Returns:
    Tuple of `[N]` last carry, tuple of `[K, N]` outputs.

  Raises:
    ValueError: for more than 4096 rows or another type than float32.
  """
  if any(array.dtype != jnp.float32 for array in inputs):
    raise ValueError(f"the kernels of soft-DTW compute in float32, got {inputs[0].dtype}; use implementation='scan'.")
  if len(stop) > MOST_ROWS:
    raise ValueError(f"the kernels of soft-DTW hold {MOST_ROWS} rows of the shorter series, got {len(stop)}; use "
                     "implementation='scan' or 'checkpointed'.")
  launch = functools.partial(dict(gpu=_launch_gpu, tpu=_launch_tpu)[platform], step, reverse)

  return one_pair(launch)(stop, carry, inputs)


def _pad(array: Any, *multiples: Any, **how: Any) -> Any:
  """Pads the last axes at their ends up to multiples."""
  ends = [-size % multiple for size, multiple in zip(array.shape[-len(multiples):], multiples)]
  return jnp.pad(array, [(0, 0)] * (array.ndim - len(ends)) + [(0, end) for end in ends], **how)


def _trace(step: Any, stop: Any, carry: Any, inputs: Any) -> Any:
  """-> number of outputs of a step; what enters at the edge of each row that it moves."""
  row, moves = lambda x: jax.ShapeDtypeStruct(x.shape[-1:], x.dtype), []

  def shift(rows: np.ndarray, by: Any, fills: Any) -> Any:
    del by
    moves.append(fills)
    return rows
  _, outputs = jax.eval_shape(functools.partial(step, shift), 0, row(stop), tuple(map(row, carry)),
                              tuple(map(row, inputs)))
  fills, = moves
  return len(outputs), fills


def _split(refs: Any, *counts: Any) -> Any:
  refs = iter(refs)
  return [tuple(itertools.islice(refs, count)) for count in counts]


def _as(dtype: DTypeLike, row: Any) -> Any:
  """Returns the same bits as another type."""
  return row if row.dtype == dtype else jax.lax.bitcast_convert_type(row, dtype)


def _launch_gpu(step: Any, reverse: Any, stop: Any, carry: Any, inputs: Any) -> Any:
  from jax.experimental.pallas import mosaic_gpu as plgpu
  num_outputs, fills = _trace(step, stop, carry, inputs)
  size, diagonals, rows = inputs[0].shape
  stop = _pad(stop, _THREADS, constant_values=-1)             # a number that no diagonal has
  carry = jax.tree.map(lambda x: _pad(x, _THREADS, mode="edge"), carry)
  inputs = jax.tree.map(lambda x: _pad(x, _THREADS), inputs)
  lanes = stop.shape[1]
  ahead = min(max(1, 2048 // lanes), 4, diagonals)            # diagonals on their way, as registers allow

  def kernel(*refs: Any) -> None:
    *others, buffer = refs
    (stop_ref,), carry_refs, input_refs, last_refs, output_refs = _split(
        others, 1, len(carry), len(inputs), len(carry), num_outputs)
    pair = jax.lax.axis_index("pair")

    def number_of(turn: Any) -> Any:
      return diagonals - 1 - turn if reverse else turn

    def load(turn: Any) -> Any:
      return tuple(ref[pair, number_of(jnp.minimum(turn, diagonals - 1))] for ref in input_refs)
    stop = stop_ref[pair]
    for slot, (row, fill) in itertools.product(range(2), enumerate(fills)):
      for edge in (0, _THREADS + lanes):
        buffer[slot, row, pl.ds(edge, _THREADS)] = _as(jnp.float32, jnp.full(_THREADS, fill))

    def diagonal(turn: Any, state: Any) -> Any:
      carry, coming = state

      def shift(moved: Any, by: Any, fills: Any) -> Any:
        for i, row in enumerate(moved):
          buffer[turn % 2, i, pl.ds(_THREADS, lanes)] = _as(jnp.float32, row)
        plgpu.commit_smem()             # all have written; who still reads the row before reads from the other slot
        return tuple(_as(row.dtype, buffer[turn % 2, i, pl.ds(_THREADS - by, lanes)]) for i, row in enumerate(moved))
      carry, outputs = step(shift, number_of(turn), stop, carry, coming[0])
      for ref, row in zip(output_refs, outputs):
        ref[pair, number_of(turn)] = row
      return carry, (*coming[1:], load(turn + ahead))

    start = tuple(ref[pair] for ref in carry_refs), tuple(load(turn) for turn in range(ahead))
    last, _ = jax.lax.fori_loop(0, diagonals, diagonal, start)
    for ref, row in zip(last_refs, last):
      ref[pair] = row

  rows_of = tuple(jax.ShapeDtypeStruct((size, lanes), x.dtype) for x in carry)
  table = jax.ShapeDtypeStruct((size, diagonals, lanes), jnp.float32)
  result = plgpu.kernel(
      kernel, out_type=[*rows_of, *(table,) * num_outputs], grid=(size,), grid_names=("pair",),
      scratch_types=[plgpu.SMEM((2, len(fills), lanes + 2 * _THREADS), jnp.float32)],
      compiler_params=plgpu.CompilerParams(unsafe_no_auto_barriers=True,
                                           lowering_semantics=plgpu.LoweringSemantics.Lane))(stop, *carry, *inputs)
  return _split((x[..., :rows] for x in result), len(carry), num_outputs)


def _launch_tpu(step: Any, reverse: Any, stop: Any, carry: Any, inputs: Any) -> Any:
  from jax.experimental.pallas import tpu as pltpu
  num_outputs, _ = _trace(step, stop, carry, inputs)
  size, diagonals, rows = inputs[0].shape
  stop = _pad(stop, _SUBLANES, _LANES, constant_values=-1)    # a number that no diagonal has
  carry = jax.tree.map(lambda x: _pad(x, _SUBLANES, _LANES, mode="edge"), carry)
  pairs, lanes = stop.shape
  block = min(diagonals, max(1, _BLOCK_BYTES // (4 * _SUBLANES * lanes * (len(inputs) + num_outputs))))
  inputs = jax.tree.map(lambda x: _pad(x.swapaxes(0, 1), block, _SUBLANES, _LANES), inputs)   # [K, S, N]
  blocks = len(inputs[0]) // block

  def kernel(*refs: Any) -> None:
    (stop_ref,), carry_refs, input_refs, last_refs, output_refs, kept = _split(
        refs, 1, len(carry), len(inputs), len(carry), num_outputs, len(carry))
    turn = pl.program_id(1)
    first = block * (blocks - 1 - turn if reverse else turn)

    @pl.when(turn == 0)
    def _() -> None:
      for ref, start in zip(kept, carry_refs):
        ref[...] = start[...]

    def shift(moved: Any, by: Any, fills: Any) -> Any:
      edge = jax.lax.broadcasted_iota(jnp.int32, (_SUBLANES, lanes), 1) == (0 if by == 1 else lanes - 1)
      return tuple(jnp.where(edge, fill, pltpu.roll(row, by % lanes, 1)) for row, fill in zip(moved, fills))

    def diagonal(i: Any, carry: Any) -> Any:
      i = block - 1 - i if reverse else i
      carry, outputs = step(shift, first + i, stop_ref[...], carry, tuple(ref[i] for ref in input_refs))
      for ref, row in zip(output_refs, outputs):
        ref[i] = row
      return carry
    last = jax.lax.fori_loop(0, block, diagonal, tuple(ref[...] for ref in kept))
    for ref, out, row in zip(kept, last_refs, last):
      ref[...] = out[...] = row

  rows_of = tuple(jax.ShapeDtypeStruct((pairs, lanes), x.dtype) for x in carry)
  table = jax.ShapeDtypeStruct((block * blocks, pairs, lanes), jnp.float32)
  row_spec = pl.BlockSpec((_SUBLANES, lanes), lambda i, turn: (i, 0))
  table_spec = pl.BlockSpec((block, _SUBLANES, lanes),
                            lambda i, turn: (blocks - 1 - turn if reverse else turn, i, 0))
  result = pl.pallas_call(
      kernel, grid=(pairs // _SUBLANES, blocks), out_shape=[*rows_of, *(table,) * num_outputs],
      in_specs=[row_spec, *(row_spec,) * len(carry), *(table_spec,) * len(inputs)],
      out_specs=[*(row_spec,) * len(carry), *(table_spec,) * num_outputs],
      scratch_shapes=[pltpu.VMEM((_SUBLANES, lanes), x.dtype) for x in carry],
      compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "arbitrary")))(stop, *carry, *inputs)
  last, outputs = _split(result, len(carry), num_outputs)
  return (tuple(x[:size, :rows] for x in last),
          tuple(x[:diagonals, :size, :rows].swapaxes(0, 1) for x in outputs))
