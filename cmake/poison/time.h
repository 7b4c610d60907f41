#error "core/ is pure: <time.h> may not be included here (docs/ARCHITECTURE.md)"
