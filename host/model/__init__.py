"""Checkpoint to smoothed, quantised GGUF. The only package that imports torch."""
