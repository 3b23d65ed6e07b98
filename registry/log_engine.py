"""Which engine keeps the log: our own, alone or among servers, or an etcd that is there already."""

from typing import TYPE_CHECKING

from weft.errors import ConfigError

from .machine import LOOPBACK, join
from .replica.etcd.engine import EtcdLog, open_etcd
from .replica.options import Options
from .replica.replica import Replica

if TYPE_CHECKING:
    from .settings import Settings

SERVER_PORT = 8300  # where servers find one another; a name only where etcd keeps the log


async def open_log(settings: "Settings") -> Replica | EtcdLog:
    """Raises DataDirProblem, ConfigError, PortTaken."""
    cluster = settings.cluster
    if settings.consensus:
        return await _in_etcd(settings)
    if cluster is None:
        return await (Replica.open(settings.data_dir) if settings.data_dir else Replica.in_memory())
    advertise = join(cluster.advertise, cluster.server_port) if cluster.server_port else ""
    options = Options(
        data_dir=settings.data_dir,
        listen=join(cluster.bind, cluster.server_port),
        tls=cluster.files.current,
        datacenter=settings.datacenter,
        advertise=advertise,
    )
    return await Replica.start(options)


async def _in_etcd(settings: "Settings") -> EtcdLog:
    cluster = settings.cluster
    if settings.data_dir is None:
        raise ConfigError(
            "--consensus: give --data-dir too; the keys that open what is in etcd are kept there"
        )
    if cluster and (cluster.bootstrap_expect or cluster.retry_join):
        raise ConfigError("--consensus: leave out --bootstrap-expect and --retry-join; servers meet in etcd")
    address = join(cluster.advertise, cluster.server_port) if cluster else join(LOOPBACK, SERVER_PORT)
    return await open_etcd(settings.consensus, address=address, data_dir=settings.data_dir)
