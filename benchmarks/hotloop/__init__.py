"""The hot evaluator loop, ours and those of other stream processors, over one workload."""
