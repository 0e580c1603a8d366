"""Pretraining without labels: the tasks that a model is given in place of its own."""
