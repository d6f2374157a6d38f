"""Using a phone without measuring: files deployed to it, one prompt run on it."""
