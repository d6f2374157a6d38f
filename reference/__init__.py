"""Generators of the pages of docs/reference, which run while the documentation is built."""
