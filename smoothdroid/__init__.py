"""smoothdroid: prepare language models for Android phones, measure them there, and report what can be trusted."""
