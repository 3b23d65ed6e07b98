Kind = "exported-services"
Name = "default"
Services = [{ Name = "orders", Consumers = [{ Peer = "dc2" }] }]
