"""Planted bugs: each is a cluster that differs from the real one in one rule. Never in product code."""

from .cluster import Cluster

MUTANTS: dict[str, type[Cluster]] = {}
