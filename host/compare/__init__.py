"""Comparisons of two sides of results: two folders, or two values of one setting."""
