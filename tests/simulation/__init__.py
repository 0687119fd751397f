"""A deterministic simulation of a whole mesh: the real engine, keeper, client and scripts on a clock that jumps."""
