"""The shared kernel of Weft and its command line: what every root may build on, and nothing else."""

__version__ = "0.1.0"
