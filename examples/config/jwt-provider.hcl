Kind   = "jwt-provider"
Name   = "sso"
Issuer = "https://sso.example.com"
JSONWebKeySet {
  Remote { URI = "https://sso.example.com/keys", CacheDuration = "10m" }
}
Forwarding { HeaderName = "x-user-claims" }
