"""Measuring: a plan, its schedule, and the campaign that runs it on a phone."""
