#error "core/ is pure: <sys/time.h> may not be included here (docs/ARCHITECTURE.md)"
