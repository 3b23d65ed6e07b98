Kind = "service-intentions"
Name = "orders"
Sources = [
  {
    Name = "web"
    Permissions = [
      { Action = "deny", HTTP { PathPrefix = "/admin" } },
      { Action = "allow", HTTP { Methods = ["GET", "POST"] } }
    ]
  },
  { Name = "*", Action = "deny" }
]
