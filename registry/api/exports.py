"""`/v1/exported-services` and `/v1/imported-services`: what crosses to and from peers."""

from ..catalog import watches
from ..catalog.feature_level import SERVER_SERVICE
from ..config_entries.mesh_wide import ExportedServices
from .handling import Answer, Reading, answer

_ANY = "*"


def exported(reading: Reading) -> Answer:
    """By service, with the peers that may see it; `*` stands for every service that there is."""
    kind, name = ExportedServices.KIND, ExportedServices.ONLY_NAME
    entry, keys = reading.state.config(kind, name), [watches.config_entry(kind, name)]
    peers: dict[str, set[str]] = {}
    for row in entry.services if isinstance(entry, ExportedServices) else ():
        names = [row.name]
        if row.name == _ANY:
            keys.append(watches.SERVICES)
            names = [each for each in reading.state.service_names().rows if each != SERVER_SERVICE]
        for each in names:
            peers.setdefault(each, set()).update(consumer.peer for consumer in row.consumers)
    shown = [
        {"Service": each, "Consumers": {"Peers": sorted(found), "Partitions": []}}
        for each, found in sorted(peers.items())
    ]
    return answer(reading.state.read(None, *keys), shown)


def imported(reading: Reading) -> Answer:
    """Nothing: there are no peers to import from."""
    found = reading.state.read(None, watches.SERVICES)
    return answer(found, {"Partition": "", "ImportedServices": []})
