"""`/v1/mesh/proxy/:service`: what the sidecar of a service is told, and why. Weft's own; Consul has none."""

from google.protobuf.json_format import MessageToDict

from ..acl.access import Access
from ..acl.caller import Caller
from ..catalog import watches
from ..errors import NotFound
from ..mesh.compile import ProxyCompiler, Settings
from ..mesh.endpoints import Standing
from ..mesh.view import view
from .handling import Answer, Reading, answer
from .views import Json


def proxy(reading: Reading) -> Answer:
    """The compiled view of a service's proxy, with where each part comes from.

    Whoever may write a service may register an instance of it and be told the same, so that is what it takes;
    or to read what operators read.
    """
    service, state = reading.needed("Missing service name"), reading.state
    _check(reading.caller, service)
    compiler = ProxyCompiler(Settings(reading.parts.default_allow))
    try:
        found = view(state, compiler, service, reading.query.text("instance"))
    except NotFound as error:
        nothing = state.read(None, watches.connect(service))
        return Answer(None, nothing.index, nothing.keys, missing=str(error))
    body: Json = {
        "Service": service,
        "Instance": found.instance_key,
        "Instances": list(found.others),
        "Index": state.index,
        "DefaultAllow": reading.parts.default_allow,
        "Resources": [
            MessageToDict(it, preserving_proto_field_name=True) for _, it in sorted(found.resources.items())
        ],
        "Origins": found.origins,
        "Standings": {name: list(map(_standing, rows)) for name, rows in found.standings.items()},
    }
    return answer(state.read(None, *sorted(found.keys)), body)


def _check(caller: Caller, service: str) -> None:
    """Raises PermissionDenied."""
    if not caller.may.allows("operator", "", Access.READ):
        caller.require("service", service, Access.WRITE)


def _standing(it: Standing) -> Json:
    return {
        "Instance": it.instance_key,
        "ServiceID": it.service_id,
        "Node": it.node,
        "Address": it.address,
        "Status": it.status,
        "Out": it.out,
    }
