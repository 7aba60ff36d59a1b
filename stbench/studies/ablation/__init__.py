"""Ablations: the variants that a method's card declares, run as a grid, beside what was reported for them."""
