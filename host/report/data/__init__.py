"""Results as the rows that tables, plots and sections show."""
