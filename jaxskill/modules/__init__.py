"""Flax modules and operations: they know tensors, no data sets and no configs."""
