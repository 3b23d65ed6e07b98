Kind = "service-faults"
Name = "orders"
Faults = [
  {
    Name    = "slow-reads"
    Percent = 5
    Match { GRPC { Method = "Get" }, Sources = ["web"] }
    Delay { Distribution = "normal", Mean = "200ms", Deviation = "50ms", Max = "1s" }
    EndsAt = "2030-01-01T00:00:00Z"
  }
]
