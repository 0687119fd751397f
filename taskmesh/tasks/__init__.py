"""What users write: tasks, flows as functions, and the registry that holds the tasks of an app."""
