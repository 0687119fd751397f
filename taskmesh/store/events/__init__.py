"""Events in the store: those that wait to be published, to be gathered, or for their nodes."""
