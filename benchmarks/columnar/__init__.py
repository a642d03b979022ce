"""The parts of `benchmarks.promql`: what is measured, and beside what."""
