Kind     = "egress"
Name     = "global"
BindPort = 15001
Rules = [
  { Name = "payments", Hosts = ["api.pay.example", "*.cdn.example"], Ports = [443] }
]
