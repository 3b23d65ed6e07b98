"""Sans-IO. Who may do what: the rule language, tokens and what they amount to.

`rules` reads what people write, `authorizer` answers questions by it, `templates` writes the rules that
nobody else does. Source of the language and its precedence: Consul's documentation of ACL rules.
"""
