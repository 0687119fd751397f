"""One driver for each system that is measured. A driver runs in an interpreter of its own and knows one system."""
