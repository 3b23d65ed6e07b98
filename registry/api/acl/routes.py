"""The routes of `/v1/acl/*`."""

from ..permission import ACL_READ, ACL_WRITE, INSIDE, OPEN
from ..route import Route, ask, at_leader, write
from . import login, methods, policies, roles, templates, tokens

ROUTES: tuple[Route, ...] = (
    ask("/v1/acl/auth-methods", methods.methods, ACL_READ),
    write("PUT", "/v1/acl/auth-method", methods.create_method, ACL_WRITE),
    ask("/v1/acl/auth-method/:name", methods.read_method, ACL_READ),
    write("PUT", "/v1/acl/auth-method/:name", methods.change_method, ACL_WRITE),
    write("DELETE", "/v1/acl/auth-method/:name", methods.delete_method, ACL_WRITE),
    ask("/v1/acl/binding-rules", methods.rules, ACL_READ),
    write("PUT", "/v1/acl/binding-rule", methods.create_rule, ACL_WRITE),
    ask("/v1/acl/binding-rule/:id", methods.read_rule, ACL_READ),
    write("PUT", "/v1/acl/binding-rule/:id", methods.change_rule, ACL_WRITE),
    write("DELETE", "/v1/acl/binding-rule/:id", methods.delete_rule, ACL_WRITE),
    at_leader(write("PUT", "/v1/acl/bootstrap", tokens.bootstrap, OPEN)),
    write("POST", "/v1/acl/login", login.login, OPEN),
    write("POST", "/v1/acl/logout", login.logout, INSIDE),
    ask("/v1/acl/policies", policies.index, ACL_READ),
    write("PUT", "/v1/acl/policy", policies.create, ACL_WRITE),
    ask("/v1/acl/policy/:id", policies.read, ACL_READ),
    write("PUT", "/v1/acl/policy/:id", policies.change, ACL_WRITE),
    write("DELETE", "/v1/acl/policy/:id", policies.delete, ACL_WRITE),
    ask("/v1/acl/policy/name/:name", policies.read_by_name, ACL_READ),
    ask("/v1/acl/replication", templates.replication, OPEN),
    ask("/v1/acl/roles", roles.index, ACL_READ),
    write("PUT", "/v1/acl/role", roles.create, ACL_WRITE),
    ask("/v1/acl/role/:id", roles.read, ACL_READ),
    write("PUT", "/v1/acl/role/:id", roles.change, ACL_WRITE),
    write("DELETE", "/v1/acl/role/:id", roles.delete, ACL_WRITE),
    ask("/v1/acl/role/name/:name", roles.read_by_name, ACL_READ),
    ask("/v1/acl/templated-policies", templates.index, ACL_READ),
    ask("/v1/acl/templated-policy/name/:name", templates.read, ACL_READ),
    write("POST", "/v1/acl/templated-policy/preview/:name", templates.preview, ACL_READ),
    ask("/v1/acl/tokens", tokens.index, ACL_READ),
    write("PUT", "/v1/acl/token", tokens.create, ACL_WRITE),
    ask("/v1/acl/token/:accessor", tokens.read, ACL_READ),
    write("PUT", "/v1/acl/token/:accessor", tokens.change, ACL_WRITE),
    write("DELETE", "/v1/acl/token/:accessor", tokens.delete, ACL_WRITE),
    ask("/v1/acl/token/self", tokens.read_self, INSIDE),
    write("POST", "/v1/internal/acl/authorize", templates.authorize, INSIDE),
)
