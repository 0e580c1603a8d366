"""What structured pruning is made of; nothing else uses it."""
