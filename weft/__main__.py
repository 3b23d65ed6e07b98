"""`python -m weft` is `weft`."""

from .cli import main

if __name__ == "__main__":
    main()
