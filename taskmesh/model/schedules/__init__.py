"""Schedules as they are said, and what is to be decided about each of their ticks."""
