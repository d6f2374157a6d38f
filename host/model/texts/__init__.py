"""Texts for calibration and for evaluation, from different sources."""
