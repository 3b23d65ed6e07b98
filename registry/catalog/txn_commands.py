"""The builder of transactions."""

from weft.pb.catalog.v1 import txn_pb2 as pb
from weft.pb.catalog.v1.command_pb2 import Command

from . import codec
from .commands import TXN_LEVEL, Stamp, level_of


def txn(stamp: Stamp, transaction: pb.Txn) -> Command:
    """Value: the results (`txn.results_of`). TransactionRefused when one fails; then none is done."""
    checks = [codec.check_from_pb(step.check) for step in transaction.ops if step.HasField("check")]
    level = max(TXN_LEVEL, level_of(checks))
    command = Command(version=level, time_ms=stamp.time_ms, request_id=stamp.request_id)
    command.txn.CopyFrom(transaction)
    return command
