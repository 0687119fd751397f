"""What a flow says of events: which it publishes, which begin its runs, which its nodes wait for."""
