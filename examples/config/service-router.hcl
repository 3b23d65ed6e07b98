Kind = "service-router"
Name = "orders"
Routes = [
  {
    Match { HTTP { PathPrefix = "/beta/", Header = [{ Name = "x-beta", Present = true }] } }
    Destination { ServiceSubset = "v2", PrefixRewrite = "/" }
  },
  {
    Match { GRPC { Service = "shop.Orders", Method = "Get" } }
    Destination {
      NumRetries     = 2
      RetryOn        = ["unavailable", "refused-stream"]
      PerTryTimeout  = "250ms"
      RequestTimeout = "1s"
      Mirrors        = [{ Service = "orders", ServiceSubset = "v2", Percent = 1 }]
    }
  }
]
