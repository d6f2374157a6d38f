"""The record of a campaign, and what follows from it: cells, statistics, validity checks."""
