"""Augmentation of whole batches of tensors, drawn from torch's global generator."""
