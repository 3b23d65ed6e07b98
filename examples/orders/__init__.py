"""`orders`: takes orders and says which instance took them."""
