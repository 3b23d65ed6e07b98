"""The agent of a node: what is registered here, and the health checks that run here.

`definition` reads what a caller registers, `sidecar_service` expands `Connect.SidecarService`, `local`
turns both into commands, and `runner` keeps every check on its interval through `probes`.
"""
