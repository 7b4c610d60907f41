#error "core/ is pure: <signal.h> may not be included here (docs/ARCHITECTURE.md)"
