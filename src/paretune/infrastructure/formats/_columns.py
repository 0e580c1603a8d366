"""How many inputs of a layer may be multiplied each with each."""

from __future__ import annotations

# A matrix of these products, its roots and its inverse together take some 2 GB; time
# grows with the third power.
MOST = 6144
