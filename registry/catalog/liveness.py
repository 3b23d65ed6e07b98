"""What the leader finds out about agents, and what becomes of their nodes."""

from collections.abc import Iterable
from dataclasses import replace

from weft.pb.catalog.v1 import enrolment_pb2 as pb
from weft.pb.catalog.v1.command_pb2 import Command

from ..errors import InvalidCommand
from . import codec, limits, registrations, rules
from .commands import Stamp
from .draft import Draft
from .enrolment import base, forget, is_server
from .enrolment_model import Member, agent_leaf_key
from .model import CRITICAL, NODE_ALIVE_ID, NODE_ALIVE_NAME, NODE_ALIVE_OUTPUT, PASSING, Check, Node

SILENT_OUTPUT = "Agent not live or unreachable"


def alive(node: str, row: Node | None) -> pb.AgentReport:
    """The agent is heard. `row` is registered where the catalog does not have the node."""
    told = codec.node_to_pb(row) if row else None
    return pb.AgentReport(node=node, verdict=pb.AgentReport.ALIVE, row=told)


def silent(member: Member) -> pb.AgentReport:
    """The agent is not heard any more."""
    return pb.AgentReport(
        node=member.node, verdict=pb.AgentReport.SILENT, expected_index=member.indexes.modify
    )


def gone(member: Member) -> pb.AgentReport:
    """The agent has not been heard for so long that its node goes."""
    return pb.AgentReport(node=member.node, verdict=pb.AgentReport.GONE, expected_index=member.indexes.modify)


def report_agents(stamp: Stamp, reports: Iterable[pb.AgentReport]) -> Command:
    """Up to limits.REPORTS_PER_COMMAND_MAX of them. Value: how many were carried out."""
    command = base(stamp)
    command.report_agents.reports.extend(reports)
    return command


def report(draft: Draft, command: pb.ReportAgents) -> str:
    rules.refuse_unless(
        len(command.reports) <= limits.REPORTS_PER_COMMAND_MAX,
        f"Reports: more than {limits.REPORTS_PER_COMMAND_MAX} at once",
    )
    return str(sum(_report(draft, each) for each in command.reports))


def _report(draft: Draft, each: pb.AgentReport) -> bool:
    member = draft.state.members.get((each.node,))
    if member is None or is_server(draft, each.node):
        return False
    if each.verdict == pb.AgentReport.ALIVE:
        return _alive(draft, member, each)
    if each.expected_index != member.indexes.modify:
        return False  # it was heard meanwhile, or joined anew
    if each.verdict == pb.AgentReport.SILENT:
        return _silent(draft, member)
    rules.refuse_unless(each.verdict == pb.AgentReport.GONE, "Verdict: is missing")
    return _gone(draft, member)


def _alive(draft: Draft, member: Member, each: pb.AgentReport) -> bool:
    if (member.node,) not in draft.state.nodes:
        row = codec.node_from_pb(each.row)
        if row.name != member.node:
            return False
        try:
            registrations.register_node(draft, row)
        except InvalidCommand:
            return False  # what one agent says of itself must not undo what is known of the others
    draft.put_member(replace(member, silent_ms=0))
    draft.put_check(_check(member.node, PASSING, NODE_ALIVE_OUTPUT), None)
    return True


def _silent(draft: Draft, member: Member) -> bool:
    draft.put_member(replace(member, silent_ms=draft.now_ms))
    if (member.node,) in draft.state.nodes:
        draft.put_check(_check(member.node, CRITICAL, SILENT_OUTPUT), None)
    return True


def _gone(draft: Draft, member: Member) -> bool:
    """The member stays as long as it has a certificate: it may come back and register anew."""
    if (member.node,) in draft.state.nodes:
        draft.drop_node(member.node)
    if not any(
        leaf.not_after_ms > draft.now_ms for leaf in draft.state.leaves_of(agent_leaf_key(member.node))
    ):
        forget(draft, member)
    return True


def _check(node: str, status: str, output: str) -> Check:
    return Check(node, NODE_ALIVE_ID, NODE_ALIVE_NAME, status, output=output)
