"""Queries over all results in SQL, through DuckDB."""
