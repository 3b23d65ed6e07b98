"""The builder of transactions."""

from weft.pb.catalog.v1 import txn_pb2 as pb
from weft.pb.catalog.v1.command_pb2 import Command

from .commands import TXN_LEVEL, Stamp


def txn(stamp: Stamp, transaction: pb.Txn) -> Command:
    """Value: the results (`txn.results_of`). TransactionRefused when one fails; then none is done."""
    command = Command(version=TXN_LEVEL, time_ms=stamp.time_ms, request_id=stamp.request_id)
    command.txn.CopyFrom(transaction)
    return command
