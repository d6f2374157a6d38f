"""Calibration, layer by layer over a checkpoint: activation ranges, scales, the proof of equality."""
