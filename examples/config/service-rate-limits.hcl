Kind = "service-rate-limits"
Name = "orders"
Limits = [
  { Name = "each-caller", RequestsPerSecond = 100, Burst = 200, PerCaller = true },
  { Name = "writes", RequestsPerSecond = 10, Match { HTTP { Methods = ["POST"] } } }
]
