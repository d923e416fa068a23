"""Functions of the application at work: tasks, threads, order, cancellation."""
