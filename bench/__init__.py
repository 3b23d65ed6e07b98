"""Benchmarks: Weft side by side with the best of its field, in one run on one machine.

    python -m bench                     all parts, both sides
    python -m bench --only W1           one workload
    python -m bench --only registry     three servers beside three of etcd, and one with 100,000 instances
    python -m bench --side envoy        one side, for a quick look; nothing is recorded

The load generator, the backend, each proxy and this harness are separate processes. What is measured is
the CPU that the operating system charged to the proxies, per request, and what the callers saw.
"""
