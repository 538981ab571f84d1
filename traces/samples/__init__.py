"""Hand-written samples of every format: a good file, and one with a broken line for each kind of error."""
