"""Step throughput, kernels, extraction: python -m jaxskill.benchmark."""
