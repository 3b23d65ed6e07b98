"""The service of a `web` process. What goes wrong behind it is passed on as it came."""

from collections.abc import AsyncIterator
from typing import Any

import grpc

from examples.pb.shop.v1 import shop_pb2, shop_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]
ORDERS_TIMEOUT_S = 5.0


class Web(shop_pb2_grpc.WebServicer):
    def __init__(self, orders: "shop_pb2_grpc.OrdersAsyncStub") -> None:
        self._orders = orders

    async def Buy(self, request: shop_pb2.PlaceRequest, context: Context) -> shop_pb2.Order:
        try:
            return await self._orders.Place(request, timeout=ORDERS_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), error.details() or "")

    async def Follow(self, request: shop_pb2.WatchRequest, context: Context) -> AsyncIterator[shop_pb2.Tick]:
        try:
            async for tick in self._orders.Watch(request):
                yield tick
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), error.details() or "")
