"""What traced programs compute."""

import jax

PRODUCTS = "dot_general", "conv_general_dilated"
EXACT = (jax.lax.Precision.HIGHEST,) * 2


def products(function, *arguments):
  """Types of the two operands of every product in a program."""
  return list(map(_types, _products(jax.make_jaxpr(function)(*arguments).jaxpr)))


def rounded(function, *arguments):
  """The products of float32 in a program whose operands a GPU or a TPU would round."""
  return [equation for equation in _products(jax.make_jaxpr(function)(*arguments).jaxpr)
          if _types(equation) == ("float32", "float32") and equation.params["precision"] != EXACT]


def _types(equation):
  return tuple(str(operand.aval.dtype) for operand in equation.invars[:2])


def _products(jaxpr):
  is_program = lambda value: hasattr(value, "eqns") or hasattr(value, "jaxpr")
  for equation in jaxpr.eqns:
    if equation.primitive.name in PRODUCTS:
      yield equation
    for inner in filter(is_program, jax.tree.leaves(list(equation.params.values()), is_leaf=is_program)):
      yield from _products(getattr(inner, "jaxpr", inner))
