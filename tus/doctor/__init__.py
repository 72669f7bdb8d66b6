"""What `tus check` looks at, from outside: one module for the visit, the rest for questions and advice."""
