"""The speed to expect of a model on a SoC, and the ceiling."""
