"""weft.registration.v1: registration over gRPC, with the model and the checks of the HTTP API."""

from collections.abc import Callable
from typing import Any

import grpc

from weft.pb.registration.v1 import registration_pb2 as pb
from weft.pb.registration.v1 import registration_pb2_grpc

from ..acl.caller import Caller
from ..agent.local import Agent
from ..agent.permission import may_write_service
from ..agent.runner import Runner
from ..audit.trail import TRAIL
from ..catalog.state import State
from ..identity.admission import Admission, caller_of
from ..identity.credentials import Credentials
from ..identity.management import METADATA_KEY
from .respond import abort

Context = grpc.aio.ServicerContext[Any, Any]


class Registration(registration_pb2_grpc.RegistrationServicer):
    """Registers instances of this node and mints their credentials."""

    def __init__(
        self,
        agent: Agent,
        runner: Runner,
        credentials: Credentials,
        view: Callable[[], State],
        admission: Admission | None = None,
    ) -> None:
        self._view = view
        self._admission = admission
        self._agent = agent
        self._runner = runner
        self._credentials = credentials

    def _caller(self, context: Context) -> Caller:
        """Raises TokenUnknown."""
        token = dict(context.invocation_metadata() or ()).get(METADATA_KEY, "")
        caller = caller_of(self._admission, self._view(), token if isinstance(token, str) else "")
        if trail := TRAIL.get():
            trail.accessor_id = caller.accessor_id
        return caller

    async def Register(self, request: pb.RegisterRequest, context: Context) -> pb.RegisterResponse:
        try:
            key = await self._agent.register(request.definition_json, self._caller(context))
            self._runner.sync()
            credential = await self._credentials.mint(key)
        except Exception as error:
            await abort(context, error)
        return pb.RegisterResponse(
            credential=pb.Credential(
                instance_key=credential.instance_key,
                secret=credential.secret,
                registry_ca_pem=credential.registry_ca_pem,
                registry_addresses=credential.registry_addresses,
                trust_domain=credential.trust_domain,
            )
        )

    async def Deregister(self, request: pb.DeregisterRequest, context: Context) -> pb.DeregisterResponse:
        try:
            await self._agent.deregister(request.service_id, self._caller(context))
            self._runner.sync()
        except Exception as error:
            await abort(context, error)
        return pb.DeregisterResponse()

    async def RevokeCredential(
        self, request: pb.RevokeCredentialRequest, context: Context
    ) -> pb.RevokeCredentialResponse:
        try:
            may_write_service(self._caller(context), self._agent.service(request.service_id))
            await self._credentials.revoke(self._agent.instance_key(request.service_id))
        except Exception as error:
            await abort(context, error)
        return pb.RevokeCredentialResponse()
