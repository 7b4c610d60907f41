#error "core/ is pure: <errno.h> may not be included here (docs/ARCHITECTURE.md)"
