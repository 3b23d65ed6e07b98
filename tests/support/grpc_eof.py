"""What grpc.aio reads after the last message; its stubs do not name it."""

from grpc.aio import EOF  # type: ignore[attr-defined]

__all__ = ["EOF"]
