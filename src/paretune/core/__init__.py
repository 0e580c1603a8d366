"""The contracts that everything else is written against; stdlib and numpy only."""
