#error "core/ is pure: <fcntl.h> may not be included here (docs/ARCHITECTURE.md)"
