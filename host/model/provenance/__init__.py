"""The provenance of a GGUF: the checkpoint, settings and tools that it was made with."""
