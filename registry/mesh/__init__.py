"""Sans-IO. The mesh compiler: catalog, intentions, roots and revocations -> what one proxy must do."""
