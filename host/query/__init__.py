"""Queries over all results in SQL; the only package that imports duckdb."""
