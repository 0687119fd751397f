"""Expressions in CEL, the Common Expression Language; the only place that knows the library which evaluates them."""
