"""`/v1/acl/login` and `/v1/acl/logout`: tokens for those who prove who they are."""

from dataclasses import replace

from ca.sealing import NONCE_BYTES

from ...acl import login as logging_in
from ...acl.access import Access
from ...acl.login import Bearer, JwtConfig, LoginRefused, NotSigned
from ...acl.model import Token
from ...agent.fields import Fields, decode_object, read_whole
from ...catalog import acl_commands
from ...catalog.acl_commands import Mode
from ...identity.errors import TokenUnknown
from ..errors import Forbidden
from ..handling import Call
from ..respond import Reply
from . import views
from .context import enabled, fresh_id, missing, tables

META_PAIRS_MAX = 64


async def login(call: Call) -> Reply:
    """A token for what the bearer's token proves. It says nothing of why a bearer is refused but that."""
    admission = enabled(call)
    name, bearer_token, description = read_whole(decode_object(call.body), "", _wish)
    found = tables(call)
    method = found.auth_methods.get((name,))
    if method is None:
        raise missing("auth method")
    now_ms = call.parts.writer.now_ms()
    rules = [row for row in found.binding_rules.values() if row.auth_method == name]
    try:
        bearer = await _proven(call, bearer_token, logging_in.read_config(method), now_ms / 1000)
        grants = logging_in.bind(rules, bearer, found, call.parts.datacenter)
    except LoginRefused as error:
        raise Forbidden(f"Permission denied: {error}") from None
    accessor, secret = fresh_id(call), fresh_id(call)
    box = admission.box(call.parts.log.view())
    row = Token(
        accessor,
        box.seal(secret, accessor, call.parts.entropy(NONCE_BYTES)),
        description,
        grants,
        local=True,
        auth_method=name,
        expires_ms=now_ms + method.max_token_ttl_ms if method.max_token_ttl_ms else 0,
    )
    await call.parts.writer.propose(lambda stamp: acl_commands.set_acl(stamp, [row], Mode.CREATE))
    written = tables(call).token(accessor)
    if written is None:  # deleted at the same moment
        raise missing("token")
    return call.json(views.token(written, tables(call), secret))


async def _proven(call: Call, token: str, config: JwtConfig, now_s: float) -> Bearer:
    """Raises LoginRefused, KeysUnreachable."""
    if config.remote is None:
        return logging_in.prove(token, config, now_s)
    keys = await call.parts.key_sets.keys(config.remote)
    try:
        return logging_in.prove(token, replace(config, keys=keys), now_s)
    except NotSigned:
        newer = await call.parts.key_sets.newer(config.remote, keys)
        return logging_in.prove(token, replace(config, keys=newer), now_s)


def _wish(fields: Fields) -> tuple[str, str, str]:
    """Method, bearer's token, and the description that the metadata make, as in Consul."""
    name = fields.text("AuthMethod")
    bearer = fields.raw("BearerToken")  # bounded where it is read
    meta = fields.text_mapping("Meta")
    if len(meta) > META_PAIRS_MAX:
        raise Forbidden("Permission denied: too much metadata")
    shown = ",".join(f"{key}={value}" for key, value in meta.items())
    description = f"token created via login: {shown}"[:256] if shown else "token created via login"
    return name, bearer if isinstance(bearer, str) else "", description


async def logout(call: Call) -> Reply:
    """Ends the token of the request, if a login has made it."""
    enabled(call)
    row = tables(call).token(call.caller.accessor_id)
    if row is None or call.caller.is_anonymous:
        raise TokenUnknown("ACL not found")
    if not row.auth_method:
        raise call.caller.denied(f"acl:{Access.WRITE.word}")
    await call.parts.writer.propose(lambda stamp: acl_commands.delete_acl(stamp, token=row.accessor_id))
    return call.json(True)
