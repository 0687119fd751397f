"""Waiting, trying again, and not trying: the rules, on top of tenacity and pybreaker."""
