"""What a GGUF was made from and how."""
