"""Benchmarks of the search: its engine, its store, and what it finds for its cost."""
