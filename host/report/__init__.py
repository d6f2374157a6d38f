"""Reports, from results files alone."""
