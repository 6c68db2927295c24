"""Soft-DTW: the smoothed cost of aligning two series in temporal order, its expected alignment, derivatives of both.

A path walks from (0, 0) to the last cell of the cost matrix by steps down, right or diagonal; soft-DTW is the soft
minimum of the paths' costs, and its gradient is the expected alignment E: how likely each cell is to lie on the path
when paths are drawn with probability exp(-cost / gamma) / Z. The recursion runs over anti-diagonals: all cells of one
are computed at once, and every pass (the value, E, the derivative of E) is one recurrence from diagonal to diagonal.

Two habits keep float32 exact where costs are thousands of gammas: the recursion adds weights exp(-R / gamma), mantissa
and exponent apart, so that no large sum is ever rounded (and one exponential a cell is enough), and what leads back to
E are the probabilities of the steps: E is products and sums of them alone.

N, M segments of the two series (rows, columns), K = N + M - 1 anti-diagonals, D feature channels.

References: Cuturi and Blondel, Soft-DTW, ICML 2017, Algorithms 1 and 2; Mensch and Blondel, Differentiable dynamic
programming, ICML 2018 (derivative of the alignment); Blondel, Mensch and Vert, Differentiable divergences between time
series, AISTATS 2021; Sakoe and Chiba, IEEE TASSP 1978 (band).
"""

from jaxskill.modules.soft_dtw.alignment import hard_alignment, soft_alignment, soft_dtw, soft_dtw_divergence
from jaxskill.modules.soft_dtw.distance import pairwise_squared_distance
from jaxskill.modules.soft_dtw.layer import TemporalAlignment
from jaxskill.modules.soft_dtw.sets import barycenter, cdist

__all__ = ["TemporalAlignment", "barycenter", "cdist", "hard_alignment", "pairwise_squared_distance", "soft_alignment",
           "soft_dtw", "soft_dtw_divergence"]
