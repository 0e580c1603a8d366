"""Numbers of several precisions in one graph: what layers cost, lose and become."""
