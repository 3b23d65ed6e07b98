"""The whole mesh on this machine, told step by step: `python -m examples.demo`."""
