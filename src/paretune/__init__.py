"""Makes deep-learning models smaller, faster and better, and proves it."""
