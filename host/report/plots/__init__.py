"""The plots of a report, one file for each, and the plot of what `prepare` chose."""
