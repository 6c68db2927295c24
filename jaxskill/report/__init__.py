"""What a training run leaves: results.json, tables, plots, and what its answers say in words."""
