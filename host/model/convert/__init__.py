"""Checkpoint to GGUF through the converter of llama.cpp."""
