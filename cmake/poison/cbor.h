#error "core/ is pure: <cbor.h> may not be included here (docs/ARCHITECTURE.md)"
