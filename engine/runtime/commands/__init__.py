"""Commands to a running engine, over a Unix socket in its state folder.

`wire` is what goes over it, `address` where it is, `server` the engine's side, `table` what can be asked for,
`drill` the largest of that, `client` the other side.
"""
