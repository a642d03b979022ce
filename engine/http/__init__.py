"""The listener: health checks, the engine's own metrics, heartbeats; one module for each subject.

`site`, `guard` and `server` bring aiohttp, `metrics` brings prometheus_client: they are imported when something is to
listen, and not before. All else is pure.
"""
