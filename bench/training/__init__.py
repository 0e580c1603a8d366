"""How fast models train here, and which ways of training pay."""
