"""The ledger (`state.db`): the small truth that survives a kill, and its outbox.

`values` are what goes in and out. `transactions` and `operator` have a function for each transaction, over a
connection. `store` runs groups of them on the file, or in memory while that can't be written; `ledger` is its face in
the event loop, with a `thread` of its own. `opening` decides which file can be trusted.
"""
