"""Programs that answer calls, one for each system measured, all with the same engines behind them.

Each runs in an environment of its own (`benchmarks.common.environments`), prints the address that callers
are to use as one line of JSON, and serves until it is terminated. What it needs to know is in `Setup`.
"""
