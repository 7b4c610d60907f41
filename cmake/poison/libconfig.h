#error "core/ is pure: <libconfig.h> may not be included here (docs/ARCHITECTURE.md)"
