"""From the token of a request to its caller: the one place where secrets meet the access control list."""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from ca.sealing import NONCE_BYTES, Keyring

from ..acl.authorizer import Authorizer
from ..acl.caller import EVERYBODY, Caller
from ..acl.login import read_config, read_rule
from ..acl.model import AuthMethod, BindingRule, Grants, Token
from ..acl.resolve import Resolver
from ..acl.rules import parse_rules
from ..acl.secrets import SecretBox
from ..acl.templates import BUILT_IN, GLOBAL_MANAGEMENT_ID
from ..catalog.state import State
from .errors import TokenUnknown
from .management import ManagementToken

_MANAGEMENT = Authorizer([parse_rules(BUILT_IN[0].rules)], default_allow=False)


class Callers(Protocol):
    """What knows callers by their tokens. `default_allow` decides where no rule of a token matches."""

    default_allow: bool

    def caller(self, state: State, secret: str) -> Caller: ...


class AskedCallers(Callers, Protocol):
    """The same where others have to be asked first."""

    async def ask(self, secret: str) -> None:
        """Returns when `caller` can tell who has this token, as things are now."""


class Admission:
    """Answers for one server. `now_ms` is the wall clock, in Unix milliseconds."""

    def __init__(
        self,
        *,
        keyring: Keyring,
        datacenter: str,
        default_allow: bool,
        management: ManagementToken | None,
        now_ms: Callable[[], int],
        entropy: Callable[[int], bytes],
        reset_index: Callable[[], int] = lambda: 0,
    ) -> None:
        self.default_allow = default_allow
        self.management = management
        self._keyring = keyring
        self._resolver = Resolver(datacenter, default_allow=default_allow)
        self._now_ms = now_ms
        self._entropy = entropy
        self._reset_index = reset_index
        self._box: SecretBox | None = None

    def caller(self, state: State, secret: str) -> Caller:
        """Who has this token; "" is anonymous. Raises TokenUnknown."""
        if self.management and self.management.is_it(secret):
            return Caller(_MANAGEMENT, self.management.accessor_id)
        if secret and state.cluster is None:
            raise TokenUnknown("ACL not found")  # nothing can have been written yet
        box = self.box(state) if secret else None
        found = (
            self._resolver.by_secret(state.acl, box, secret, self._now_ms())
            if box
            else self._resolver.anonymous(state.acl)
        )
        if found is None:
            raise TokenUnknown("ACL not found")
        return Caller(found.may, found.token.accessor_id, found.is_anonymous)

    def by_accessor(self, state: State, accessor_id: str) -> Caller | None:
        """What a token allows that is known by its accessor; None where it is gone or has expired."""
        token = self.token(state, accessor_id)
        found = self._resolver.of(state.acl, token, self._now_ms()) if token else None
        return Caller(found.may, accessor_id, found.is_anonymous) if found else None

    def token(self, state: State, accessor_id: str) -> Token | None:
        """The row of a token; of the operator's also before the leader has written it."""
        given = self.management
        is_it = given is not None and given.accessor_id == accessor_id
        return state.acl.token(accessor_id) or (_management_token(accessor_id) if is_it else None)

    def management_row(self, state: State) -> Token | None:
        """The operator's token as it has to be written; None where it is, or there is none."""
        given = self.management
        if given is None or state.acl.token(given.accessor_id):
            return None
        secret = self.box(state).seal(given.secret, given.accessor_id, self._entropy(NONCE_BYTES))
        return replace(_management_token(given.accessor_id), secret=secret)

    def reset_index(self) -> int:
        """The index that an operator has written down to allow another bootstrap; 0: none."""
        return self._reset_index()

    def check_method(self, row: AuthMethod) -> None:
        """Raises InvalidCommand where a method could not be used to log in."""
        read_config(row)

    def check_rule(self, row: BindingRule) -> None:
        """Raises InvalidCommand where a rule could not be followed."""
        read_rule(row)

    def box(self, state: State) -> SecretBox:
        """What seals and opens token secrets of this cluster, which must be named."""
        assert state.cluster is not None
        if self._box is None:
            self._box = SecretBox(self._keyring.keys, state.cluster.id)
        return self._box


def _management_token(accessor_id: str) -> Token:
    grants = Grants((GLOBAL_MANAGEMENT_ID,))
    return Token(accessor_id, description="Initial Management Token", grants=grants)


def caller_of(callers: Callers | None, state: State, secret: str) -> Caller:
    """Everybody may do everything where there is no access control. Raises TokenUnknown."""
    return callers.caller(state, secret) if callers else EVERYBODY
