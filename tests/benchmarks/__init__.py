"""Speed and memory against the targets of the project: `make bench`, or `python -m tests.benchmarks --help`."""
