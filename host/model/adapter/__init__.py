"""LoRA adapters: read, moved onto a smoothed base, proven and written as llama.cpp's GGUF."""
