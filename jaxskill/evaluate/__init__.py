"""How good answers are: metrics, comparison with the truth, protocols, and baselines that need no network."""
