"""Sweeps: YAML files that expand to runs, and the pool that executes them."""
