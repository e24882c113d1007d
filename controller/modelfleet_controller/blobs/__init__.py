"""Files by their sha256: the store, uploads that are verified, downloads that resume."""
