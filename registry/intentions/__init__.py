"""Sans-IO. Intentions: who may call whom, which one wins, and what they say about one call."""
