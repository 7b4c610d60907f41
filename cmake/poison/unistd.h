#error "core/ is pure: <unistd.h> may not be included here (docs/ARCHITECTURE.md)"
