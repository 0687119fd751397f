"""Child runs, from their birth to the news of their end."""
