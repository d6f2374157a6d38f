"""The way from a checkpoint to a smoothed, quantised GGUF. The only package that imports torch."""
