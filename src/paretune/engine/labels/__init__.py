"""How quality grows with the number of labels, by ways of training."""
