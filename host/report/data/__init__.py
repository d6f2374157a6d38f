"""The data of a report: results as the rows that tables, plots and sections show."""
