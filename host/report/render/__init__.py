"""A report as files: HTML page, Markdown, CSV, figures."""
