"""Use of a phone without a benchmark: deploy files to it, run one prompt on it."""
