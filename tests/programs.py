"""What traced programs compute."""

import jax

PRODUCTS = "dot_general", "conv_general_dilated"


def products(function, *arguments):
  """Types of the two operands of every product in a program."""
  return list(_products(jax.make_jaxpr(function)(*arguments).jaxpr))


def _products(jaxpr):
  is_program = lambda value: hasattr(value, "eqns") or hasattr(value, "jaxpr")
  for equation in jaxpr.eqns:
    if equation.primitive.name in PRODUCTS:
      yield tuple(str(operand.aval.dtype) for operand in equation.invars[:2])
    for inner in filter(is_program, jax.tree.leaves(list(equation.params.values()), is_leaf=is_program)):
      yield from _products(getattr(inner, "jaxpr", inner))
