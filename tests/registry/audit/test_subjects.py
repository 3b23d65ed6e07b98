"""What a command is about, without what it holds."""

from google.protobuf.descriptor import FieldDescriptor

from registry.audit.subjects import SUBJECTS_MAX, kind_of, subjects
from registry.catalog import commands
from registry.catalog.commands import Stamp
from registry.catalog.model import Node
from weft.pb.catalog.v1.command_pb2 import Command
from weft.pb.catalog.v1.txn_pb2 import Txn

STAMP = Stamp(1, b"r" * 16)
NAMELESS = {
    "init_cluster",
    "set_roots",
    "expire",
    "configure_ca",
    "activate_root",
    "retire_roots",
    "reseal_key",
    "configure_autopilot",
    "give_addresses",
    "restore",
}
"""Commands that are about the cluster, of which there is one."""


def filled(message: object, depth: int = 4) -> None:
    """Every field with something in it; strings with a text that must not be mistaken for a secret."""
    for field in message.DESCRIPTOR.fields:  # type: ignore[attr-defined]
        if field.type == FieldDescriptor.TYPE_STRING:
            if field.is_repeated:
                getattr(message, field.name).append(f"<{field.name}>")
            else:
                setattr(message, field.name, f"<{field.name}>")
        elif field.type == FieldDescriptor.TYPE_BYTES and not field.is_repeated:
            setattr(message, field.name, b'{"Kind":"k","Name":"n"}')
        elif (
            field.type == FieldDescriptor.TYPE_MESSAGE
            and depth
            and not field.message_type.GetOptions().map_entry
        ):
            inner = getattr(message, field.name)
            filled(inner.add() if field.is_repeated else inner, depth - 1)


def test_every_command_names_what_it_is_about_and_no_secret() -> None:
    kinds = [field.name for field in Command.DESCRIPTOR.oneofs_by_name["body"].fields]
    assert len(kinds) > 30
    for kind in kinds:
        command = Command()
        filled(getattr(command, kind))
        getattr(command, kind).SetInParent()
        found = subjects(command)
        assert kind_of(command) == kind
        assert found or kind in NAMELESS, kind
        assert not any("secret" in it or "value" in it for it in found), f"{kind}: {found}"


def test_names_are_told_once_and_only_so_many() -> None:
    command = commands.register(STAMP, Node("n1", "127.0.0.1", "dc1", "id-1"), (), ())
    assert "name=n1" in subjects(command)
    many = Command(txn=Txn())
    for number in range(64):
        many.txn.ops.add().kv.key = f"k{number}"
    assert subjects(many) == tuple(f"key=k{number}" for number in range(SUBJECTS_MAX))
    assert subjects(Command()) == ()
