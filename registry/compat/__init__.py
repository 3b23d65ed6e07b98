"""A launcher that looks like `consul`, for test harnesses that start a Consul binary."""
