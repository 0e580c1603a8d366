"""Zeros in weights: which, when, and what the others do about it."""
