"""Rows as tables: on the terminal, in Markdown, as CSV."""
