"""Benchmarks: run by hand, never by the tests. Figures go to RESULTS.md as ratios of one run.

client.py       asks a running server for streams over HTTP and counts their tokens
throughput.py   ``python -m bench.throughput``: total tokens per second of 1, 2, 4 and 8 streams
"""
