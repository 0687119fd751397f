"""Node types: those that are built in, and those of others; found, checked and made to tasks."""
