"""The processes that run user code, and those who start and feed them."""
