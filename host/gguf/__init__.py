"""GGUF files: reading a header safely, the memory that a model takes, identity by hash."""
