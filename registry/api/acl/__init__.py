"""`/v1/acl/*`: tokens, policies, roles, auth methods and binding rules."""
