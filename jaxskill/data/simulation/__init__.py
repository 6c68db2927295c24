"""Simulated performances, of which everything is known: streams, files in official layouts, rendered videos."""
