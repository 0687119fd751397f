"""Events on their way: out to those who listen, and in to the runs and nodes that they are for."""
