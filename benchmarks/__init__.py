"""Benchmarks: how fast it is, in figures that can be held against a limit. Not part of the package.

Every module in this folder that has a `run()` is a benchmark by its own name; see `benchmarks.harness`.
"""
