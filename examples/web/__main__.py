"""`python -m examples.web --listen 127.0.0.1:50050 --orders 127.0.0.1:50051`"""

import argparse
import asyncio

import grpc

from examples.pb.shop.v1 import shop_pb2_grpc
from examples.serving import serve

from .service import Web


async def run(listen: str, orders: str) -> None:
    async with grpc.aio.insecure_channel(orders) as channel:
        web = Web(shop_pb2_grpc.OrdersStub(channel))
        await serve(listen, lambda server: shop_pb2_grpc.add_WebServicer_to_server(web, server))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m examples.web", description="Sells things.")
    parser.add_argument("--listen", default="127.0.0.1:50050", help="host:port")
    parser.add_argument("--orders", default="127.0.0.1:50051", help="host:port of orders")
    options = parser.parse_args()
    asyncio.run(run(options.listen, options.orders))
