"""Messages that cannot be handled: how they are put aside, and gathered from the broker."""
