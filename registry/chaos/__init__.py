"""Sans-IO. Experiments with faults: when one ends before its time, and as what its rule reads."""
