Kind            = "service-canary"
Name            = "orders"
ServiceSubset   = "v2"
Steps           = [10, 25, 50, 100]
Interval        = "1m"
MaxErrorPercent = 1
MaxP99          = "300ms"
MinRequests     = 200
