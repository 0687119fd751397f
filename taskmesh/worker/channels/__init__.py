"""How the processes of a worker talk to each other."""
