"""The two services of an `orders` process."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import grpc

from examples.pb.shop.v1 import shop_pb2, shop_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]
INTERVAL_MS_MIN = 10


class Faults(shop_pb2_grpc.FaultsServicer):
    """Says whether this instance should fail."""

    def __init__(self) -> None:
        self.unavailable = False

    async def Set(self, request: shop_pb2.FaultsRequest, context: Context) -> shop_pb2.FaultsResponse:
        self.unavailable = request.unavailable
        return shop_pb2.FaultsResponse()

    async def check(self, context: Context) -> None:
        """Ends the call with UNAVAILABLE while the fault is on."""
        if self.unavailable:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "out of order")


class Orders(shop_pb2_grpc.OrdersServicer):
    def __init__(self, name: str, faults: Faults) -> None:
        self._name = name
        self._faults = faults
        self._numbers = itertools.count(1)

    async def Place(self, request: shop_pb2.PlaceRequest, context: Context) -> shop_pb2.Order:
        await self._faults.check(context)
        return shop_pb2.Order(
            number=next(self._numbers),
            item=request.item,
            quantity=request.quantity,
            instance=self._name,
        )

    async def Watch(self, request: shop_pb2.WatchRequest, context: Context) -> AsyncIterator[shop_pb2.Tick]:
        interval_s = max(request.interval_ms, INTERVAL_MS_MIN) / 1000
        for number in itertools.count(1):
            await self._faults.check(context)
            yield shop_pb2.Tick(number=number, instance=self._name)
            await asyncio.sleep(interval_s)
