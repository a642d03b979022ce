"""The core: pure, synchronous, deterministic. It decides; it never reads a clock, waits, logs or does I/O."""
