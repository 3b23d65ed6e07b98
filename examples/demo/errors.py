"""What can go wrong in the demo.

WeftError
└── StepFailed    a step of the story did not come out as told
"""

from weft.errors import WeftError


class StepFailed(WeftError):
    """Expected: the mesh did not do what the step says. The message says what happened instead."""
