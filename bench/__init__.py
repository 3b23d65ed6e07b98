"""Benchmarks: Weft side by side with the best of its field, in one run on one machine.

    python -m bench                     all workloads, both sides
    python -m bench --only W1           one workload
    python -m bench --side envoy        one side, for a quick look; nothing is recorded

The load generator, the backend, each proxy and this harness are separate processes. What is measured is
the CPU that the operating system charged to the proxies, per request, and what the callers saw.
"""
