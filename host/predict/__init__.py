"""Predictions: the speed to expect of a model on a SoC, and the ceiling that no result can exceed."""
