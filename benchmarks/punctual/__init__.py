"""How long after an alert's deadline somebody knows: an engine, and Prometheus, over the same pattern of breaches."""
