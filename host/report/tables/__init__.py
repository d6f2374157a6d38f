"""Tables of cells and of evaluations: on the terminal, in Markdown, as CSV."""
