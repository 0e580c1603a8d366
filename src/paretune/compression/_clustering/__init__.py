"""What weight clustering and the tuning of its values are made of."""
