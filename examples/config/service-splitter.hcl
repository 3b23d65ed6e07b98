Kind = "service-splitter"
Name = "orders"
Splits = [
  { Weight = 95, ServiceSubset = "v1" },
  { Weight = 5, ServiceSubset = "v2", ResponseHeaders { Set { "x-version" = "v2" } } }
]
Sticky = [{ Field = "header", FieldValue = "x-user" }]
