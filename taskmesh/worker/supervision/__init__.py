"""The process above the others: starts them, watches them, answers for them."""
