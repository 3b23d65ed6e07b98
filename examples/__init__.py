"""Two small gRPC services that know nothing of the mesh, and the demo that runs them in one."""
