"""Sans-IO. Consul's filter expressions: parsed once against the fields that rows have, then asked per row."""
