"""All results in SQL. The only package that imports duckdb."""
