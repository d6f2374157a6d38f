"""LoRA adapters: read, moved onto a smoothed base, proven, written as llama.cpp's GGUF, or merged."""
