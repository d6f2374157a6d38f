"""Benchmarks on a phone: request, plan, schedule, and the campaign that measures."""
