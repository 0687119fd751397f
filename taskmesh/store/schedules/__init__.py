"""Schedules and their ticks in the store."""
