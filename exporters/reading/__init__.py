"""What a file says of itself, read as data: operations, types, sizes, work."""
