"""`/v1/connect/ca/configuration`: what the CA goes by, and the wish for a new root.

As Consul's, with the provider "consul" for the built-in CA. Weft's own: `PUT ...?rotate` asks for a new
root. What Consul has and this CA has not is refused with its name, never taken and ignored.
"""

from datetime import UTC, datetime

from ca.rotation import Phase
from weft.durations import format_duration

from ..agent.fields import Fields, decode_object, read_whole
from ..catalog import commands
from ..catalog.model import Authority, CaSettings
from .errors import BadRequest
from .handling import Answer, Call, Reading, answer
from .respond import Reply
from .views import Json

PROVIDER = "consul"  # clients know the built-in CA by this name
KEY_TYPE, KEY_BITS = "ec", 256
_NOT_HERE = {
    "PrivateKey": "a key of your own is not taken: the CA makes its keys, and seals them",
    "RootCert": "a root of your own is not taken: the CA makes its roots",
    "IntermediateCertTTL": "the CA signs with its root and has no intermediate",
    "CSRMaxConcurrent": "the CA signs one request at a time; use CSRMaxPerSecond",
}


def show(reading: Reading) -> Answer:
    found = reading.state.ca()
    return answer(found, _view(found.rows))


def _view(row: Authority) -> Json:
    settings = row.settings
    return {
        "Provider": PROVIDER,
        "Config": {
            "LeafCertTTL": _go(settings.leaf_ttl_ms),
            "RootCertTTL": _go(settings.root_ttl_ms),
            "CSRMaxPerSecond": settings.csr_per_s_max,
            "PrivateKeyType": KEY_TYPE,
            "PrivateKeyBits": KEY_BITS,
        },
        "State": _state(row),
        "ForceWithoutCrossSigning": False,
        "CreateIndex": row.indexes.create,
        "ModifyIndex": row.indexes.modify,
    }


def _state(row: Authority) -> dict[str, str]:
    """Where a rotation stands. Read-only."""
    state = {"Rotation": row.phase.name.lower()}
    if row.phase is Phase.SWITCHED:
        retires = datetime.fromtimestamp(row.retire_at_ms // 1000, UTC)
        state["OldRootRetiresAt"] = retires.strftime("%Y-%m-%dT%H:%M:%SZ")
    return state


async def change(call: Call) -> Reply:
    """200 with an empty body. A field that is left out keeps its value. `?cas=<ModifyIndex>` compares."""
    row = call.parts.log.view().ca().rows
    settings = read_whole(decode_object(call.body), "", lambda fields: _read(fields, row))
    expected, rotate = _cas(call), call.query.boolean("rotate")
    await call.parts.writer.propose(
        lambda stamp: commands.configure_ca(stamp, settings, rotate=rotate, expected_index=expected)
    )
    return Reply()


def _read(fields: Fields, row: Authority) -> CaSettings:
    provider = fields.text("Provider", PROVIDER)
    if provider != PROVIDER:
        raise BadRequest(f'Provider {provider[:40]!r} is not supported: use "{PROVIDER}", the built-in CA')
    state = fields.text_mapping("State")
    if state and state != _state(row):
        raise BadRequest("Provider State is read-only: leave it out, or send what is answered")
    if fields.boolean("ForceWithoutCrossSigning"):
        raise BadRequest("ForceWithoutCrossSigning: this CA always cross-signs its next root; leave it out")
    for name in ("CreateIndex", "ModifyIndex"):  # echoes of what was read
        fields.integer(name)
    return fields.child("Config", lambda config: _settings(config, row.settings)) or row.settings


def _settings(config: Fields, now: CaSettings) -> CaSettings:
    for name, why in _NOT_HERE.items():
        if config.raw(name) not in (None, "", 0):
            raise BadRequest(f"Config.{name}: {why}; leave it out")
    _check_key(config)
    return CaSettings(
        leaf_ttl_ms=round(config.duration_s("LeafCertTTL", now.leaf_ttl_ms / 1000) * 1000),
        root_ttl_ms=round(config.duration_s("RootCertTTL", now.root_ttl_ms / 1000) * 1000),
        csr_per_s_max=_per_second(config, now.csr_per_s_max),
    )


def _check_key(config: Fields) -> None:
    kind, bits = config.text("PrivateKeyType", KEY_TYPE), config.integer("PrivateKeyBits", KEY_BITS)
    if (kind, bits) != (KEY_TYPE, KEY_BITS):
        raise BadRequest(f'Config.PrivateKeyType: this CA\'s keys are "{KEY_TYPE}" of {KEY_BITS} bits')


def _per_second(config: Fields, now: int) -> int:
    """Go clients send a float."""
    value = config.raw("CSRMaxPerSecond")
    if value is None:
        return now
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < 0:
        raise BadRequest("Config.CSRMaxPerSecond: must be a whole number, 0 for no limit")
    return int(value)


def _cas(call: Call) -> int:
    text = call.query.text("cas")
    if not text:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise BadRequest("Invalid cas: write the ModifyIndex that was read")
    return int(text)


def _go(milliseconds: int) -> str:
    return format_duration(milliseconds / 1000)
