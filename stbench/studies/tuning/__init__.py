"""Nested tuning: trials of a method's settings on inner folds of the slides that an outer fold trains on."""
