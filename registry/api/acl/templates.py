"""`/v1/acl/templated-polic*`, `/v1/acl/replication` and `/v1/internal/acl/authorize`."""

import orjson

from ...acl.access import LABELLED, PLAIN, Access
from ...acl.templates import TEMPLATES, Template
from ...agent.errors import Undecodable
from ...agent.fields import Fields, decode_object, read_whole
from ..errors import BadRequest, NotFound
from ..handling import Call
from ..respond import Reply
from ..views import Json
from . import views
from .context import enabled

QUESTIONS_MAX = 64


async def index(call: Call) -> Reply:
    enabled(call)
    return call.json(views.templates())


async def read(call: Call) -> Reply:
    enabled(call)
    return call.json(views.template(_known(call)))


async def preview(call: Call) -> Reply:
    """The policy that a template makes of a name, as if it were written."""
    enabled(call)
    template = _known(call)
    wish = decode_object(call.body) if call.body.strip() else {}
    name = read_whole(wish, "", lambda fields: fields.text("Name"))
    shown: Json = {
        "ID": "",
        "Name": f"synthetic-policy-{template.name.rpartition('/')[2]}-{name}".rstrip("-"),
        "Description": f"synthetic policy generated from templated policy: {template.name}",
        "Rules": template.rules(name),
        "Datacenters": [],
        "Hash": None,
        "CreateIndex": 0,
        "ModifyIndex": 0,
    }
    return call.json(shown)


def _known(call: Call) -> Template:
    name = call.needed("Missing templated policy Name")
    if name not in TEMPLATES:
        raise NotFound(f"Invalid templated policy Name: {name[:128]}")
    return TEMPLATES[name]


async def replication(call: Call) -> Reply:
    """There is nothing to replicate from: each datacenter has its own list."""
    enabled(call)
    return call.json(
        {
            "Enabled": False,
            "Running": False,
            "SourceDatacenter": "",
            "ReplicationType": "",
            "ReplicatedIndex": 0,
            "ReplicatedTokenIndex": 0,
            "LastSuccess": "0001-01-01T00:00:00Z",
            "LastError": "0001-01-01T00:00:00Z",
        }
    )


async def authorize(call: Call) -> Reply:
    """Answers a list of questions about the token of the request."""
    enabled(call)
    try:
        asked = orjson.loads(call.body)
    except orjson.JSONDecodeError as error:
        raise Undecodable(str(error)) from None
    if not isinstance(asked, list) or len(asked) > QUESTIONS_MAX:
        raise BadRequest(f"the body must be a list of at most {QUESTIONS_MAX} questions")
    return call.json(
        [read_whole(it, f"[{n}]", lambda one: _question(call, one)) for n, it in enumerate(asked)]
    )


def _question(call: Call, fields: Fields) -> dict[str, object]:
    resource, segment = fields.text("Resource"), fields.text("Segment")
    word = fields.text("Access")
    if word not in ("read", "list", "write"):
        raise BadRequest('Access: use "read", "list" or "write"')
    access = Access[word.upper()]
    if resource == "intention":
        allowed = call.caller.may.allows_intention(segment, access)
    elif resource in LABELLED or resource in PLAIN:
        allowed = call.caller.may.allows(resource, segment, access)
    else:
        raise BadRequest(f"Resource: {resource[:40]!r} is not known")
    return {"Resource": resource, "Segment": segment, "Access": word, "Allow": allowed}
