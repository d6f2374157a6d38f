"""Reports: pages, tables and plots, made from results files alone."""
