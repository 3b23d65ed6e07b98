Kind = "mesh"
HTTP {
  Incoming {
    RequestNormalization {
      MergeSlashes                 = true
      PathWithEscapedSlashesAction = "REJECT_REQUEST"
    }
  }
}
