"""Real servers and processes for tests: started on private ports and directories, and always ended."""
