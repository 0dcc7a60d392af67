"""Ways to another peer: whom to ask for addresses, which to take, and whether the path still carries."""
