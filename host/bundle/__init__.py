"""Bundles: one archive with everything that a Termux user needs to run a model."""
