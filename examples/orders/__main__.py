"""`python -m examples.orders --listen 127.0.0.1:50051 --name orders-1`"""

import argparse
import asyncio

import grpc

from examples.pb.shop.v1 import shop_pb2_grpc
from examples.serving import serve

from .service import Faults, Orders


async def run(listen: str, name: str) -> None:
    faults = Faults()

    def add_services(server: grpc.aio.Server) -> None:
        shop_pb2_grpc.add_OrdersServicer_to_server(Orders(name, faults), server)
        shop_pb2_grpc.add_FaultsServicer_to_server(faults, server)

    await serve(listen, add_services)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m examples.orders", description="Takes orders.")
    parser.add_argument("--listen", default="127.0.0.1:50051", help="host:port")
    parser.add_argument("--name", default="orders", help="what this instance calls itself")
    options = parser.parse_args()
    asyncio.run(run(options.listen, options.name))
