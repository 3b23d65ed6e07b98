"""The part of a draft that is about virtual addresses."""

from dataclasses import dataclass

from .address_row import NUMBER_MAX, VirtualAddress
from .enrolment_draft import EnrolmentDraft
from .state import State

ROUTED = ("service-resolver", "service-router", "service-splitter")
"""Kinds of config entries that make a service of the mesh out of a name without instances."""


@dataclass(slots=True)
class AddressDraft(EnrolmentDraft):
    """Who is in the mesh has one, the same until it leaves; then another service gets it.

    Numbers in use and free ones together are 1 to some n without a gap, so the lowest that is free is found
    without a search, and follows from the rows alone.
    """

    def start_addressing(self) -> None:
        self._change(addressing=True)

    def settle_address(self, service: str) -> None:
        """Gives or takes back the address of a service that may have come to the mesh or left it."""
        if not self.state.addressing or not service:
            return
        known = self.state.addresses.get((service,))
        if is_meshed(self.state, service):
            if known is None:
                self._give(service)
        elif known is not None:
            self._change(
                addresses=self.state.addresses.without((service,)),
                free_numbers=self.state.free_numbers.put((known.number,), None),
            )

    def _give(self, service: str) -> None:
        addresses, free = self.state.addresses, self.state.free_numbers
        if first := next(iter(free.items()), None):
            (number,), _ = first
            free = free.without((number,))
        elif (number := len(addresses) + 1) > NUMBER_MAX:
            return
        self._change(addresses=addresses.put((service,), VirtualAddress(service, number)), free_numbers=free)


def is_meshed(state: State, service: str) -> bool:
    """Whether the service has a mesh endpoint, or an entry that says where its requests go."""
    endpoint = next(state.services_by_connect.prefix((service,)), None)
    return endpoint is not None or any((kind, service) in state.config_entries for kind in ROUTED)
