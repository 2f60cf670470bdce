"""Turns published values into tests (`pytest benchmarks`)."""
