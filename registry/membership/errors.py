"""What ends an agent's attempt to be a member.

WeftError
├── JoinRefused       expected: a server says no to the join token (UsageError)
├── NotOurServer      expected: no root of the token vouches for who answers
├── ServersAway       expected: no server answers (Unavailable)
└── MembershipDamaged expected: the file that holds the membership cannot be read (DataDirProblem)
"""

from weft.errors import DataDirProblem, Unavailable, UsageError, WeftError


class JoinRefused(UsageError):
    """Expected. The join token was used, has ended, or is for another node."""


class NotOurServer(WeftError):
    """Expected. Whoever answers is not vouched for by a root that the join token names."""


class ServersAway(Unavailable):
    """Expected. No server answers, or none has a leader; trying again is right."""


class MembershipDamaged(DataDirProblem):
    """Expected. The file of the membership is not one, or of another node."""
