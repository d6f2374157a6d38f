"""Texts for calibration and for evaluation, with no sentence in both."""
