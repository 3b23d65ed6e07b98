"""`web`: what a customer talks to. It reaches `orders` at the one address it is given."""
