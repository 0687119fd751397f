"""How fast taskmesh is, beside the limit of the broker and beside its peers: ``./scripts/bench``."""
