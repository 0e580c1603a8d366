"""Who trains and who measures."""
