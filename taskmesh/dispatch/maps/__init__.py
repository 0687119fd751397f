"""The items of maps: their inputs, how they begin, and what becomes of their outputs."""
