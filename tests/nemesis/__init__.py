"""Experiments with real processes: a nemesis strikes while runs are under way, then every promise is checked."""
