"""Where large values are put aside: a directory, or an object store. The only place that knows obstore."""
