"""What is put into the processes of an experiment; the product itself holds none of it."""
