"""The peers: one module each, with `prepare(workload: Workload) -> Entry`.

`prepare` does what is not timed: it makes the events, in the form that the peer takes fastest, and whatever is set
up once. Each peer solves the task in its own idiom, as someone who knows it well would write it, and no more than the
task: one rule for each series, no gaps, no late samples, nothing unknown. Transitions are plain tuples in a list.
"""
