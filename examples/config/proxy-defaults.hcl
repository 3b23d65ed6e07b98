Kind = "proxy-defaults"
Name = "global"
AccessLogs { Errors = true }
Tracing {
  SamplePercent = 1
  OTLPEndpoint  = "http://127.0.0.1:4318"
}
PrioritizeByLocality { Mode = "failover" }
