"""The life of an attempt in the I/O process, from its message to its end in the store."""
