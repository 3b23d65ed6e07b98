Kind          = "service-resolver"
Name          = "orders"
DefaultSubset = "v1"
Subsets {
  v1 { Filter = "Service.Meta.version == v1" }
  v2 { Filter = "Service.Meta.version == v2", OnlyPassing = true }
}
Failover { v2 { ServiceSubset = "v1" } }
LoadBalancer { Policy = "least_request", SlowStart = "30s" }
