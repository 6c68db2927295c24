"""Skill assessment and action quality assessment in JAX."""
__version__ = "0.1.0"
