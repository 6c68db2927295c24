"""Temporal alignment as a layer: where each row of a video lies in a reference, and how badly the two fit."""

from __future__ import annotations

import functools
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxskill.modules.soft_dtw.alignment import hard_alignment, soft_dtw
from jaxskill.modules.soft_dtw.distance import pairwise_squared_distance

KINDS = ("soft", "hard", "linear")
FREE_ENDS = ("none", "query", "reference")
TINY = 1e-6                  # a row of weights below it is one of padding


class TemporalAlignment(nn.Module):
  """Aligns the rows of a query with those of a reference; it has no parameters. Map it with `jax.vmap` over pairs.

  Attributes:
    kind: "soft" aligns by soft-DTW; "hard" by the best path of classic DTW; "linear" scales time alone.
    gamma: softness of "soft", > 0, in the unit of a squared distance between two rows.
    bandwidth: Sakoe-Chiba band in rows, see `soft_dtw`; None for all. "linear" has none.
    implementation: see `soft_dtw`.
    free_ends: of which of the two a piece is aligned with the whole other one: "query", whose rows before and after the
      piece show what the reference does not; "reference", of which the query is a piece; "none", all with all. With
      free ends there is no band, and no "linear".

  Reference: SkillDiff, temporal alignment to expert videos by soft-DTW; Cuturi and Blondel, ICML 2017.
  """

  kind: str = "soft"
  gamma: float = 0.3
  bandwidth: int | None = None
  implementation: str = "auto"
  free_ends: str = "none"

  @nn.compact
  def __call__(self, query: jax.Array, reference: jax.Array,
               lengths: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Aligns one video with one reference.

    Args:
      query: `[T, D]` rows of the video, as they are to be compared.
      reference: `[S, D]` rows of the reference.
      lengths: (t, s) real rows of both.

    Returns:
      `[T, S]` float32 weights of the reference's rows for each row of the query: where it lies in the reference, from
        0 to 1, a real row's sum to 1; where the query's ends are free, to its share in the piece, down to 0. The rows
        of padding are 0. Differentiable by the rows ("soft"; else constant).
      [] the cost of the alignment over t + s (with free ends twice the whole one's length): the mean squared distance
        of what is matched, of "soft" smoothed, in the unit of a squared distance; 0 of "linear". Differentiable by the
        rows.

    Raises:
      ValueError: if the kind or whose ends are free is unknown, "linear" is to have free ends, or as `soft_dtw`.
    """
    chex.assert_rank([query, reference], 2)
    if self.kind not in KINDS:
      raise ValueError(f"kind={self.kind!r} is unknown; use one of {', '.join(KINDS)}.")
    if self.free_ends not in FREE_ENDS:
      raise ValueError(f"free_ends={self.free_ends!r} is unknown; use one of {', '.join(FREE_ENDS)}.")
    if self.free_ends != "none" and self.kind == "linear":
      raise ValueError("kind='linear' scales time alone and has no free ends; use 'soft' or 'hard'.")
    if self.kind == "linear":
      return linear_alignment(*lengths, len(query), len(reference)), jnp.float32(0)
    cost = pairwise_squared_distance(query, reference)                                       # [T, S]
    align = functools.partial(_soft if self.kind == "soft" else _hard, gamma=self.gamma, bandwidth=self.bandwidth,
                              implementation=self.implementation)
    if self.free_ends == "query":
      visits, total = align(cost.T, lengths=lengths[::-1], free_ends=True)                 # [S, T]
      return visits.T / jnp.maximum(visits.sum(axis=0)[:, None], 1.0), total / (2 * lengths[1])
    if self.free_ends == "reference":
      visits, total = align(cost, lengths=lengths, free_ends=True)
      return visits / jnp.maximum(visits.sum(axis=1, keepdims=True), TINY), total / (2 * lengths[0])
    visits, total = align(cost, lengths=lengths)
    return visits / jnp.maximum(visits.sum(axis=1, keepdims=True), TINY), total / sum(lengths)


def _soft(cost: jax.Array, gamma: float, **options: Any) -> tuple[jax.Array, jax.Array]:
  # Naive form, of the same value and gradients; it would run the recursion twice:
  #   visits = soft_alignment(cost, gamma)
  #   total = soft_dtw(cost, gamma)
  value, visits = jax.value_and_grad(soft_dtw)(cost, gamma, **options)
  value = jax.lax.stop_gradient(value)
  expected = jax.lax.stop_gradient(visits)          # is the gradient of `value`: no further recursion is run for it
  return visits, value + jnp.sum(expected * (cost - jax.lax.stop_gradient(cost)))


def _hard(cost: Any, gamma: float, **options: Any) -> Any:
  del gamma
  visits = hard_alignment(cost, **options)
  return visits, jnp.sum(visits * cost)


def linear_alignment(length: int | jax.Array, other: jax.Array, rows: int, columns: int) -> jax.Array:
  """Returns the weights of a map that only scales time, between two neighboring rows of the reference.

  Args:
    length, other: [] real rows of the query and of the reference.
    rows, columns: T and S, with padding.

  Returns:
    `[T, S]` float32, each real row sums to 1.
  """
  place = jnp.clip((jnp.arange(rows) + 0.5) / length * other - 0.5, 0, other - 1)
  return jnp.maximum(1 - jnp.abs(place[:, None] - jnp.arange(columns)), 0.0)
