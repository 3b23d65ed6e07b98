"""weft.server.v1: what servers tell one another beside the log."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from weft.pb.server.v1 import server_pb2 as pb
from weft.pb.server.v1 import server_pb2_grpc
from weft.tap_query import parse_tap

from ..identity.errors import Unauthenticated
from ..identity.server_proof import METADATA_KEY, ServerProof
from ..measurements.wire import of_server
from ..operator.agents import Agents
from ..operator.measuring import Measuring
from ..operator.proxies import Proxies, proxies_response
from ..operator.tapping import Tapping, response
from .respond import abort

TAP_WAIT_S = 1.0  # between two messages at most, which say that the server lives

Context = grpc.aio.ServicerContext[Any, Any]


class Servers(server_pb2_grpc.ServersServicer):
    """Every call proves to come from a server of this cluster."""

    def __init__(
        self, measuring: Measuring, proxies: Proxies, lives: Agents, tapping: Tapping, proof: ServerProof
    ) -> None:
        self._proxies = proxies
        self._measuring = measuring
        self._tapping = tapping
        self._lives = lives
        self._proof = proof

    async def Report(self, request: pb.ReportRequest, context: Context) -> pb.ReportResponse:
        try:
            self._check(context)
            self._measuring.take_report(of_server(request))
        except Exception as error:
            await abort(context, error)
        return pb.ReportResponse()

    async def Proxies(self, request: pb.ProxiesRequest, context: Context) -> pb.ProxiesResponse:
        try:
            self._check(context)
        except Exception as error:
            await abort(context, error)
        return proxies_response(self._proxies.here)

    async def ReportAgents(
        self, request: pb.ReportAgentsRequest, context: Context
    ) -> pb.ReportAgentsResponse:
        try:
            self._check(context)
            return self._lives.take(request)
        except Exception as error:
            await abort(context, error)

    async def Tap(self, request: pb.TapRequest, context: Context) -> AsyncIterator[pb.TapResponse]:
        """Ends with the caller's stream, or when the query's time is over."""
        try:
            self._check(context)
            async with asyncio.timeout(parse_tap(request.query).seconds):
                with self._tapping.here(request.service, request.query) as reader:
                    while True:
                        yield response(await reader.next(TAP_WAIT_S))
        except TimeoutError:
            return
        except Exception as error:
            await abort(context, error)

    def _check(self, context: Context) -> None:
        said = dict(context.invocation_metadata() or ()).get(METADATA_KEY)
        if not isinstance(said, str) or not self._proof.is_it(said):
            raise Unauthenticated("this is for servers of the cluster; give all of them one operator key")
