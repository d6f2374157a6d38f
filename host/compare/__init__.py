"""Two sides of results compared: two folders, or two values of one setting."""
