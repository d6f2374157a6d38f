"""Hugging Face checkpoints: checked, read tensor by tensor, staged, saved."""
