"""What a worker does: finds a task, checks it, realises recipes and judges them."""
