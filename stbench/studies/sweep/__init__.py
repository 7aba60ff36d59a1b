"""Grids of runs: many cells in worker processes, resumable; and the sweep over panel sizes made of them."""
