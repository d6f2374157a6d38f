"""Benchmarks on one or many phones: selection, coordination, health records, and phones of other machines."""
