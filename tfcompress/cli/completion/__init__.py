"""Scripts that let a shell complete the command: one module for each shell."""
