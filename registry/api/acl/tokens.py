"""`/v1/acl/token*` and `/v1/acl/bootstrap`."""

from dataclasses import replace

from ca.sealing import NONCE_BYTES

from ...acl.access import Access
from ...acl.model import ANONYMOUS_ACCESSOR, ANONYMOUS_SECRET, Grants, Token
from ...acl.secrets import SECRET_CHARS_MAX
from ...acl.templates import GLOBAL_MANAGEMENT_ID
from ...agent.fields import Fields, decode_object, read_whole
from ...catalog import acl_commands
from ...catalog.acl_commands import Mode
from ...identity.errors import TokenUnknown
from ...identity.management import token_of
from ..errors import BadRequest, Forbidden, NotFound
from ..handling import Call
from ..respond import Reply
from ..views import Json
from . import bodies, views
from .context import enabled, fresh_id, missing, tables

SECRET_CHARS_MIN = 8  # what is shorter is guessed; a UUID has 36
_CLONE = "/clone"


async def bootstrap(call: Call) -> Reply:
    """The first management token, once; the server answers who may do everything, so it needs no token."""
    admission = enabled(call)
    wish = decode_object(call.body) if call.body.strip() else {}
    secret = read_whole(wish, "", lambda fields: fields.text("BootstrapSecret"))
    row = Token(
        fresh_id(call),
        description="Bootstrap Token (Global Management)",
        grants=Grants((GLOBAL_MANAGEMENT_ID,)),
    )
    row, secret = _sealed(call, row, secret)
    reset = admission.reset_index()
    try:
        await call.parts.writer.propose(lambda stamp: acl_commands.bootstrap_acl(stamp, row, reset))
    except Exception as error:
        if "no longer allowed" in str(error):
            raise Forbidden(str(error)) from None
        raise
    shown = _shown(call, row.accessor_id, secret)
    return call.json({"ID": secret, **shown})


async def index(call: Call) -> Reply:
    """All tokens, or those with a policy, role, service identity or auth method."""
    enabled(call)
    query, found = call.query, tables(call)
    policy, role = query.text("policy"), query.text("role")
    method, service = query.text("authmethod"), query.text("servicename")
    rows = [
        row
        for row in found.tokens.values()
        if (not policy or policy in row.grants.policies)
        and (not role or role in row.grants.roles)
        and (not method or row.auth_method == method)
        and (not service or any(it.service_name == service for it in row.grants.service_identities))
    ]
    return call.json([views.token(row, found, _secret_for(call, row)) for row in rows])


async def create(call: Call) -> Reply:
    """`PUT acl/token`: a new one; with the accessor of a known one, a change of it (old clients do)."""
    enabled(call)
    now_ms = call.parts.writer.now_ms()
    row, secret = read_whole(
        decode_object(call.body), "", lambda fields: bodies.token(fields, tables(call), now_ms)
    )
    if row.auth_method:
        raise BadRequest("AuthMethod: tokens of a method are made by a login")
    if not row.accessor_id:
        row = replace(row, accessor_id=fresh_id(call))
    row, secret = _sealed(call, row, secret)
    await call.parts.writer.propose(lambda stamp: acl_commands.set_acl(stamp, [row], Mode.CREATE))
    return call.json(_shown(call, row.accessor_id, secret))


async def read(call: Call) -> Reply:
    enabled(call)
    row = _known(call, call.needed("Missing token AccessorID"))
    shown = views.token(row, tables(call), _secret_for(call, row))
    if call.query.flag("expanded"):
        shown |= views.expanded(row, tables(call))
    return call.json(shown)


async def read_self(call: Call) -> Reply:
    """The token of the request; it needs no permission to see itself."""
    admission = enabled(call)
    secret = token_of(call.query.text("token"), call.headers)
    state = call.parts.log.view()
    caller = admission.caller(state, secret)
    row = admission.token(state, caller.accessor_id or ANONYMOUS_ACCESSOR)
    if row is None:
        raise TokenUnknown("ACL not found")
    shown = views.token(row, state.acl, secret or ANONYMOUS_SECRET)
    return call.json(shown | (views.expanded(row, state.acl) if call.query.flag("expanded") else {}))


async def change(call: Call) -> Reply:
    """`PUT acl/token/:accessor`, and `.../clone`."""
    enabled(call)
    accessor = call.needed("Missing token AccessorID")
    if accessor.endswith(_CLONE):
        return await _clone(call, accessor.removesuffix(_CLONE))
    old = _known(call, accessor)
    now_ms = call.parts.writer.now_ms()
    row, secret = read_whole(
        decode_object(call.body), "", lambda fields: bodies.token(fields, tables(call), now_ms)
    )
    if row.accessor_id not in ("", accessor):
        raise BadRequest("Token Accessor ID in URL and payload do not match")
    if secret and secret not in (_opened(call, old), views.HIDDEN):
        raise BadRequest("Changing a token's SecretID is not permitted")
    if row.expires_ms not in (0, old.expires_ms):
        raise BadRequest("Cannot change expiration time")
    row = replace(
        row,
        accessor_id=accessor,
        secret=old.secret,
        expires_ms=old.expires_ms,
        auth_method=old.auth_method,
    )
    mode = Mode.ANY if accessor == ANONYMOUS_ACCESSOR else Mode.UPDATE
    await call.parts.writer.propose(lambda stamp: acl_commands.set_acl(stamp, [row], mode))
    return call.json(_shown(call, accessor, _secret_for(call, old)))


async def _clone(call: Call, accessor: str) -> Reply:
    """A new secret for what an existing token may do."""
    old = _known(call, accessor)
    wish = decode_object(call.body) if call.body.strip() else {}
    description = read_whole(wish, "", _description)
    if accessor == ANONYMOUS_ACCESSOR:
        raise BadRequest("Cannot clone the anonymous token")
    row = replace(
        old, accessor_id=fresh_id(call), description=description or f"Clone of: {old.description}"[:256]
    )
    row, secret = _sealed(call, row, "")
    await call.parts.writer.propose(lambda stamp: acl_commands.set_acl(stamp, [row], Mode.CREATE))
    return call.json(_shown(call, row.accessor_id, secret))


def _description(fields: Fields) -> str:
    bodies.echoed(fields)
    return fields.text("Description")


async def delete(call: Call) -> Reply:
    enabled(call)
    accessor = call.needed("Missing token AccessorID")
    if accessor == ANONYMOUS_ACCESSOR:
        raise BadRequest("Delete operation not permitted on the anonymous token")
    if tables(call).token(accessor) is None:
        raise NotFound("Cannot find token to delete")
    await call.parts.writer.propose(lambda stamp: acl_commands.delete_acl(stamp, token=accessor))
    return call.json(True)


def _known(call: Call, accessor: str) -> Token:
    row = tables(call).token(accessor)
    if row is None:
        raise missing("token")
    return row


def _sealed(call: Call, row: Token, secret: str) -> tuple[Token, str]:
    """With the given secret or a new one. Raises BadRequest on one that could be guessed."""
    secret = secret or fresh_id(call)
    if not SECRET_CHARS_MIN <= len(secret) <= SECRET_CHARS_MAX or not secret.isprintable() or " " in secret:
        raise BadRequest(
            f"SecretID: use {SECRET_CHARS_MIN} to {SECRET_CHARS_MAX} printable characters without spaces"
        )
    box = enabled(call).box(call.parts.log.view())
    return replace(row, secret=box.seal(secret, row.accessor_id, call.parts.entropy(NONCE_BYTES))), secret


def _opened(call: Call, row: Token) -> str:
    if row.accessor_id == ANONYMOUS_ACCESSOR:
        return ANONYMOUS_SECRET
    return enabled(call).box(call.parts.log.view()).open(row.secret, row.accessor_id)


def _secret_for(call: Call, row: Token) -> str:
    """Only who may write tokens is shown their secrets."""
    return _opened(call, row) if call.caller.may.allows("acl", "", Access.WRITE) else views.HIDDEN


def _shown(call: Call, accessor: str, secret: str) -> Json:
    found = tables(call)
    row = found.token(accessor)
    if row is None:  # deleted at the same moment
        raise missing("token")
    return views.token(row, found, secret)
