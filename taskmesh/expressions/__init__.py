"""Expressions in CEL, the Common Expression Language, and JSON Schemas; no other place knows their libraries."""
