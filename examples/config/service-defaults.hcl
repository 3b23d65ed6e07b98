Kind                  = "service-defaults"
Name                  = "orders"
Protocol              = "grpc"
MaxInboundConnections = 1000
UpstreamConfig {
  Defaults {
    ConnectTimeoutMs = 1000
    Limits { MaxConcurrentRequests = 200 }
  }
  Overrides = [
    { Name = "stock", PassiveHealthCheck { MaxFailures = 3, BaseEjectionTime = "10s" } }
  ]
}
